"""Train a small text detector with segloss.DBLoss on a photographed page, numpy and scipy only.

A fixed filter bank looks at the page (text_data.py). On top of it a per-pixel network with one hidden layer gives two
maps: P, how likely a pixel is the core of a word, and T, the threshold that P has to pass there. The step function
joins them, B = segloss.db_step(P, T), and DBLoss judges all three. Its gradient comes back as one array for the three
maps; the part for B goes on to P and T through segloss.db_step_grad, and from there through the network by hand.

The right of the page is held out. The script fails (exit code 1) if a loss did not fall or if the detector does not
clearly beat a global threshold there.

    python text_detector.py [--steps 240] [--seed 0] [--output segloss-demo.png] [--quick]
"""

import argparse
import itertools
import math
import os
import sys

import numpy as np
import segloss
import text_data
import text_picture
from scipy import ndimage
from scipy.special import expit
from skimage import filters
from tqdm import tqdm

PARTS = ("loss", "loss_shrink_maps", "loss_threshold_maps", "loss_binary_maps")
CLEARLY = 0.1  # the detector's F must be this much above every baseline's


# -- The network -------------------------------------------------------------------------------------------------------


class Head:
    """Features -> 32 rectified hidden units -> (P, T), the same for every pixel."""

    def __init__(self, feature_count, rng, hidden=32):
        def layer(outputs, inputs, scale):
            return (scale * rng.standard_normal((outputs, inputs))).astype(np.float32)

        self.hidden_weight = layer(hidden, feature_count, math.sqrt(2 / feature_count))
        self.hidden_bias = np.zeros((hidden, 1), np.float32)
        self.output_weight = layer(2, hidden, 0.1)
        self.output_bias = np.zeros((2, 1), np.float32)

    @property
    def parameters(self):
        return [self.hidden_weight, self.hidden_bias, self.output_weight, self.output_bias]

    def forward(self, features):
        """Features F x (N x) H x W -> P and T, each (N x) H x W. Keeps what `backward` needs."""
        pixels = features.shape[1:]
        self.x = features.reshape(len(features), -1)
        self.h = np.maximum(self.hidden_weight @ self.x + self.hidden_bias, 0)
        self.y = expit(self.output_weight @ self.h + self.output_bias)
        return self.y[0].reshape(pixels), self.y[1].reshape(pixels)

    def backward(self, grad_prob, grad_thresh):
        """Gradients of P and T -> gradients of the parameters, in the order of `parameters`."""
        grad_y = np.stack((grad_prob.ravel(), grad_thresh.ravel()))
        grad_logit = grad_y * self.y * (1 - self.y)
        grad_h = (self.output_weight.T @ grad_logit) * (self.h > 0)
        return [
            grad_h @ self.x.T,
            grad_h.sum(1, keepdims=True),
            grad_logit @ self.h.T,
            grad_logit.sum(1, keepdims=True),
        ]


class Adam:
    """Adam (Kingma & Ba 2015) over a list of arrays, updated in place."""

    def __init__(self, parameters, beta1=0.9, beta2=0.999, eps=1e-8):
        self.parameters, self.beta1, self.beta2, self.eps = parameters, beta1, beta2, eps
        self.mean = [np.zeros_like(p) for p in parameters]
        self.square = [np.zeros_like(p) for p in parameters]
        self.steps = 0

    def step(self, gradients, rate):
        self.steps += 1
        rate *= math.sqrt(1 - self.beta2**self.steps) / (1 - self.beta1**self.steps)
        for parameter, gradient, mean, square in zip(self.parameters, gradients, self.mean, self.square):
            mean += (1 - self.beta1) * (gradient - mean)
            square += (1 - self.beta2) * (gradient**2 - square)
            parameter -= rate * mean / (np.sqrt(square) + self.eps)


# -- Training ----------------------------------------------------------------------------------------------------------


def loss_and_gradients(criterion, prob, thresh, labels):
    """DBLoss of P, T and B = db_step(P, T); returns its parts and the whole gradient with respect to P and to T."""
    maps = np.stack((prob, thresh, segloss.db_step(prob, thresh)), axis=1)
    parts, grad = criterion.value_and_grad(maps, *labels)
    # DBLoss sees three independent maps. B is made of P and T, so what it asks for is asked of them.
    prob_through_binary, thresh_through_binary = segloss.db_step_grad(prob, thresh, grad[:, 2])
    return parts, grad[:, 0] + prob_through_binary, grad[:, 1] + thresh_through_binary


def train(head, batch, steps, rate=1e-2):
    """Train in place. Returns the loss parts, before every step and at the end, and a picture of an early gradient.

    That picture (`push`, N x H x W) is the step that the loss asks of the logit of P at each pixel; positive raises P.
    """
    criterion = segloss.DBLoss()
    optimizer = Adam(head.parameters)
    early = min(20, steps // 2)
    history = []
    progress = tqdm(range(steps), desc="training", unit="step", mininterval=0.5)
    for step in progress:
        prob, thresh = head.forward(batch.features)
        parts, grad_prob, grad_thresh = loss_and_gradients(criterion, prob, thresh, batch.labels)
        if step == early:
            push = -grad_prob * prob * (1 - prob)
        history.append(parts)
        progress.set_postfix(loss=f"{parts['loss']:.3f}", refresh=False)
        # The rate falls along half a cosine, so that training ends on a settled network.
        optimizer.step(head.backward(grad_prob, grad_thresh), rate * (1 + math.cos(math.pi * step / steps)) / 2)
    history.append(loss_and_gradients(criterion, *head.forward(batch.features), batch.labels)[0])
    return history, push, early


# -- Judging -----------------------------------------------------------------------------------------------------------


def score(text, sample):
    """Pixel precision, recall and F of a map of text pixels against the shrink map, where the shrink mask counts."""
    counted = sample.shrink_mask > 0
    truth, text = (sample.shrink_map > 0) & counted, text & counted
    hits = np.count_nonzero(text & truth)
    found, wanted = np.count_nonzero(text), np.count_nonzero(truth)
    return hits / max(found, 1), hits / max(wanted, 1), 2 * hits / max(found + wanted, 1)


def baselines(train_page, held_out):
    """What a global threshold (dark is text) can do on the held-out part. Yields (name, score)."""
    levels = (np.arange(256) + 0.5) / 255  # between every two grey values of the photograph

    def dark(image, level):
        return image < level

    def cores(image, level, gap, erosion):
        """The dark pixels, closed into words and eroded to their cores: a threshold given the same target."""
        words = ndimage.binary_closing(np.pad(image < level, 20), np.ones(gap))
        return ndimage.binary_erosion(words, np.ones(erosion))[20:-20, 20:-20]

    def chosen_on_train_page(method, *choices):
        """The settings that do best on the page that the detector trains on, tried on the held-out part."""

        def f_in_training(settings):
            return score(method(train_page.image, *settings), train_page)[2]

        return score(method(held_out.image, *max(itertools.product(*choices), key=f_in_training)), held_out)

    yield "global threshold, Otsu", score(dark(held_out.image, filters.threshold_otsu(held_out.image)), held_out)
    yield "global threshold, best in training", chosen_on_train_page(dark, levels)
    # No level gets further than this one, which cheats: it is picked by its result.
    in_hindsight = max((score(dark(held_out.image, level), held_out) for level in levels), key=lambda s: s[2])
    yield "global threshold, best in hindsight", in_hindsight
    gaps, erosions = [(5, 5), (5, 9), (7, 5), (7, 9), (9, 5), (9, 9)], [(1, 5), (3, 5), (5, 5)]
    yield "threshold, closed and eroded to cores", chosen_on_train_page(cores, levels[::8], gaps, erosions)


def print_losses(history):
    """The four losses at the start, on the way and at the end."""
    steps = len(history) - 1
    print(f"\n{'step':>6}" + "".join(f"{name:>21}" for name in PARTS))
    for step in sorted({0, steps // 20, steps // 5, steps // 2, steps}):
        print(f"{step:>6}" + "".join(f"{history[step][name]:>21.4f}" for name in PARTS))


def print_scores(scores):
    """One line per method."""
    print(f"\n{'held-out pixels':<40}{'precision':>10}{'recall':>10}{'F':>10}")
    for name, values in scores.items():
        print(f"{name:<40}" + "".join(f"{value:>10.3f}" for value in values))


def complaints(history, scores):
    """What went wrong, in sentences; empty if the demo shows what it should."""
    for name in PARTS:
        start, end = history[0][name], history[-1][name]
        if not end < start:
            yield f"{name} did not fall: {start:.4f} at the start, {end:.4f} at the end"
    detector, *others = scores.items()
    for name, (_, _, f) in others:
        if not detector[1][2] >= f + CLEARLY:
            yield f"the detector's F of {detector[1][2]:.3f} is not {CLEARLY} above that of '{name}', {f:.3f}"


# -- The demo ----------------------------------------------------------------------------------------------------------


def parse_arguments():
    parser = argparse.ArgumentParser(description="Train a small text detector with segloss.DBLoss.")
    parser.add_argument("--steps", type=int, help="training steps (default: 240, or 100 with --quick)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights (default: %(default)s)")
    parser.add_argument("--output", default="segloss-demo.png", help="where the picture goes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few steps, for tests")
    arguments = parser.parse_args()
    if arguments.steps is None:
        arguments.steps = 100 if arguments.quick else 240
    if arguments.steps < 2:
        parser.error("--steps must be at least 2")
    if not os.path.isdir(os.path.dirname(os.path.abspath(arguments.output))):
        parser.error(f"--output: the folder of {arguments.output} does not exist")
    return arguments


def main():
    arguments = parse_arguments()
    print(f"segloss {segloss.__version__}, {segloss.instruction_set()}, {segloss.num_threads()} threads")
    page, handwriting, held_out = text_data.load()
    batch = text_data.stack([page, handwriting])
    head = Head(len(page.features), np.random.default_rng(arguments.seed))

    def predict_page():
        """(P, T) of the two parts of the page, each predicted without seeing the other."""
        return [head.forward(part.features) for part in (page, held_out)]

    before = predict_page()
    history, push, early = train(head, batch, arguments.steps)
    after = predict_page()

    prob_held_out = after[1][0]
    scores = {"the detector": score(prob_held_out > 0.5, held_out), **dict(baselines(page, held_out))}
    print_losses(history)
    print_scores(scores)

    text_picture.draw(arguments.output, page, held_out, before, after, push[0], early, history, scores)
    print(f"\nthe picture: {arguments.output}")

    failures = list(complaints(history, scores))
    for sentence in failures:
        print(f"FAILED: {sentence}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
