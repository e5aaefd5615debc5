"""Train a small text detector in PaddlePaddle with segloss.paddle.DBLoss, on a photographed page.

A convolutional network reads the page and gives two maps: P, how likely a pixel is the core of a word, and T, the
threshold that P has to pass there. ``segloss.paddle.db_step`` joins them, and DBLoss judges all three, called as
PaddleOCR calls its own: ``loss(predicts, labels)``. Pages, labels and picture are those of text_detector.py, where the
same is done by hand.

The right of the page is held out. The script fails (exit code 1) if a loss did not fall or if the detector does not
clearly beat a global threshold there.

    python paddle_db.py [--steps 200] [--seed 0] [--output paddle-db.png]
"""

import argparse
import os
import sys

import numpy as np
import paddle
import segloss.paddle
import text_data
import text_detector
import text_picture
from paddle import nn
from tqdm import tqdm


class Detector(nn.Layer):
    """Pages (N x H x W, H and W even) -> {"maps": N x 3 x H x W}, which are P, T and B."""

    def __init__(self, channels=16):
        super().__init__()

        def block(inputs, **options):
            convolution = nn.Conv2D(inputs, channels, 3, bias_attr=False, **options)
            return nn.Sequential(convolution, nn.BatchNorm2D(channels), nn.ReLU())

        self.down = block(1, stride=2, padding=1)
        # Each looks further around than the one before, so that a pixel sees the whole of its word.
        self.blocks = nn.LayerList([block(channels, padding=d, dilation=d) for d in (1, 2, 4, 8, 1)])
        self.up = nn.Conv2DTranspose(channels, 2, 4, stride=2, padding=1)

    def forward(self, pages):
        x = self.down(pages.unsqueeze(1))
        for block in self.blocks:
            x = x + block(x)
        prob, thresh = nn.functional.sigmoid(self.up(x)).unbind(1)
        return {"maps": paddle.stack([prob, thresh, segloss.paddle.db_step(prob, thresh)], 1)}


def crops(samples, rng, count=4, height=128, width=192):
    """A batch of places in the samples, as PaddleOCR's loader gives it: image, then the four labels."""
    batch = []
    for _ in range(count):
        sample = samples[rng.integers(len(samples))]
        top, left = (
            rng.integers(sample.image.shape[0] - height + 1),
            rng.integers(sample.image.shape[1] - width + 1),
        )
        flip = rng.choice([-1, 1])  # a word stays one when it is mirrored
        arrays = [a[top : top + height, left : left + width][:, ::flip] for a in (sample.image, *sample.labels)]
        contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(-0.15, 0.15)
        batch.append([contrast * arrays[0] + np.float32(brightness), *arrays[1:]])
    return [paddle.to_tensor(np.stack(arrays).astype(np.float32)) for arrays in zip(*batch)]


def train(detector, samples, steps, rng):
    """Train in place. Returns the loss parts, before every step and at the end, and an early `asked` and its step."""
    criterion = segloss.paddle.DBLoss()
    rates = paddle.optimizer.lr.CosineAnnealingDecay(1e-2, steps)
    optimizer = paddle.optimizer.Adam(rates, parameters=detector.parameters())
    early = min(20, steps // 2)
    history = []
    progress = tqdm(range(steps + 1), desc="training", unit="step", mininterval=0.5)
    for step in progress:
        if step == early:
            push = asked(criterion, detector, samples[0])
        batch = crops(samples, rng)
        losses = criterion(detector(batch[0]), batch)
        history.append({name: float(value) for name, value in losses.items()})
        progress.set_postfix(loss=f"{history[-1]['loss']:.3f}", refresh=False)
        if step < steps:
            losses["loss"].backward()
            optimizer.step()
            optimizer.clear_grad()
            rates.step()
    return history, push, early


def asked(criterion, detector, sample):
    """The step that the loss asks of the logit of P, directly and through B, H x W; positive raises P."""
    batch = [paddle.to_tensor(array[None]) for array in (sample.image, *sample.labels)]
    prob, thresh = map(paddle.to_tensor, predict(detector, sample))
    logit = paddle.logit(prob.clip(1e-6, 1 - 1e-6))
    logit.stop_gradient = False
    prob = nn.functional.sigmoid(logit)
    maps = paddle.stack([prob, thresh, segloss.paddle.db_step(prob, thresh)]).unsqueeze(0)
    criterion({"maps": maps}, batch)["loss"].backward()
    return -logit.grad.numpy()


def predict(detector, sample):
    """P and T of a whole sample."""
    height, width = sample.image.shape
    page = np.pad(sample.image, [(0, height % 2), (0, width % 2)], mode="edge")[None]
    detector.eval()
    with paddle.no_grad():
        prob, thresh, _ = detector(paddle.to_tensor(page))["maps"][0, :, :height, :width].numpy()
    detector.train()
    return prob, thresh


def parse_arguments():
    parser = argparse.ArgumentParser(description="Train a small text detector with segloss.paddle.DBLoss.")
    parser.add_argument("--steps", type=int, default=200, help="training steps (default: %(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the initial weights (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        default="paddle-db.png",
        help="where the picture goes (default: %(default)s)",
    )
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("--steps must be at least 2")
    if not os.path.isdir(os.path.dirname(os.path.abspath(arguments.output))):
        parser.error(f"--output: the folder of {arguments.output} does not exist")
    return arguments


def main():
    arguments = parse_arguments()
    paddle.set_device("cpu")
    paddle.seed(arguments.seed)
    page, handwriting, held_out = text_data.load()
    detector = Detector()

    before = [predict(detector, sample) for sample in (page, held_out)]
    rng = np.random.default_rng(arguments.seed)
    history, push, early = train(detector, [page, handwriting], arguments.steps, rng)
    after = [predict(detector, sample) for sample in (page, held_out)]

    found = text_detector.score(after[1][0] > 0.5, held_out)
    scores = {"the detector": found, **dict(text_detector.baselines(page, held_out))}
    text_detector.print_losses(history)
    text_detector.print_scores(scores)

    text_picture.draw(
        arguments.output,
        page,
        held_out,
        before,
        after,
        push,
        early,
        history,
        scores,
        "on a batch of crops",
    )
    print(f"\nthe picture: {arguments.output}")

    failures = list(text_detector.complaints(history, scores))
    for sentence in failures:
        print(f"FAILED: {sentence}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
