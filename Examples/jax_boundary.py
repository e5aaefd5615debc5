"""Teach a small network to find coins, with cross-entropy and segloss.jax.boundary_loss: JAX alone.

The photograph of ancient coins that scikit-image ships gets its labels from a watershed: coin or background. The
network, six convolutions written out below, trains on random crops of the right, each in a light of its own; the left,
where the table is bright, it never sees. The boundary loss compares outlines, which cross-entropy hardly notices: a
wrong pixel costs as much there as anywhere. The script fails (exit code 1) if a loss did not fall or if the coins on
the left are not found.

    python jax_boundary.py [--steps 300] [--size 96] [--seed 0] [--output segloss-jax.png] [--quick]
"""

import argparse
import sys

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import numpy as np
import segloss
from scipy import ndimage
from segloss.jax import boundary_loss, cross_entropy_loss
from skimage import data, filters, segmentation
from tqdm import tqdm

CUT = 130  # columns from it on are trained on
BATCH, CHANNELS, RATE = 4, 16, 3e-3
DILATIONS = (1, 2, 4, 8, 1)
GOOD = 0.8  # of the intersection over union on the coins that were not seen


def load():
    """(image, labels): 303 x 384, from 0 to 1 and float32; 1 is coin, as scikit-image's own tutorial finds it."""
    grey = data.coins()
    markers = np.zeros_like(grey, np.int32)
    markers[grey < 30], markers[grey > 150] = 1, 2
    coins = segmentation.watershed(filters.sobel(grey), markers) == 2
    coins = ndimage.binary_opening(ndimage.binary_fill_holes(coins), iterations=2)
    return grey.astype(np.float32) / 255, coins.astype(np.uint8)


def crops(image, labels, size, rng):
    """Random squares of the right, mirrored and lit at random: (BATCH, 1, size, size) and (BATCH, size, size)."""
    inputs, targets = [], []
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    for _ in range(BATCH):
        top, left = (rng.integers(low, high - size + 1) for low, high in zip((0, CUT), image.shape))
        here = np.s_[top : top + size, left : left + size]
        mirror = np.s_[:: rng.choice([1, -1]), :: rng.choice([1, -1])]
        light, down, across = rng.uniform((-0.1, -0.15, -0.15), (0.35, 0.15, 0.15)).astype(np.float32)
        inputs.append(image[here][mirror] + light + down * ramp[:, None] + across * ramp)
        targets.append(labels[here][mirror])
    return np.stack(inputs)[:, None], np.stack(targets)


# -- The network -------------------------------------------------------------------------------------------------------


def make_network(key):
    """Kernels and biases of convolutions that see ever farther, and of the last, which gives two logits a pixel."""
    layers, inputs = [], 1
    for own in jax.random.split(key, len(DILATIONS)):
        scale = np.sqrt(2 / (9 * inputs))
        layers.append((scale * jax.random.normal(own, (CHANNELS, inputs, 3, 3)), jnp.zeros((CHANNELS, 1, 1))))
        inputs = CHANNELS
    return [*layers, (jnp.zeros((2, CHANNELS, 1, 1)), jnp.zeros((2, 1, 1)))]


def predict(network, images):
    """Images N x 1 x H x W -> logits N x 2 x H x W."""
    maps = images - 0.4
    for (kernel, bias), dilation in zip(network[:-1], DILATIONS):
        maps = jax.lax.conv_general_dilated(maps, kernel, (1, 1), "SAME", rhs_dilation=(dilation, dilation))
        maps = jax.nn.relu(maps + bias)
    kernel, bias = network[-1]
    return jax.lax.conv(maps, kernel, (1, 1), "SAME") + bias


# -- Training ----------------------------------------------------------------------------------------------------------


def objective(network, images, labels):
    """The sum of both losses, and each of them."""
    logits = predict(network, images)
    parts = {"cross-entropy": cross_entropy_loss(logits, labels), "boundary": boundary_loss(logits, labels)}
    return sum(parts.values()), parts


@jax.jit
def step(network, mean, square, time, images, labels):
    """One step of Adam (Kingma & Ba 2015)."""
    (_, parts), grads = jax.value_and_grad(objective, has_aux=True)(network, images, labels)
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, square, grads)
    rate = RATE * jnp.sqrt(1 - 0.999**time) / (1 - 0.9**time)
    network = jax.tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s) + 1e-8), network, mean, square)
    return network, mean, square, parts


def train(image, labels, steps, size, seed):
    """(network, the losses of every step)"""
    rng = np.random.default_rng(seed)
    network = make_network(jax.random.key(seed))
    mean = square = jax.tree.map(jnp.zeros_like, network)
    history = []
    progress = tqdm(range(1, steps + 1), desc="training", unit="step", mininterval=0.5)
    for time in progress:
        network, mean, square, parts = step(network, mean, square, time, *crops(image, labels, size, rng))
        history.append({name: float(value) for name, value in parts.items()})
        progress.set_postfix({name: f"{value:.3f}" for name, value in history[-1].items()}, refresh=False)
    return network, history


# -- Judging -----------------------------------------------------------------------------------------------------------


def overlap(found, labels):
    """Intersection over union."""
    return np.count_nonzero(found & (labels > 0)) / np.count_nonzero(found | (labels > 0))


def smooth(history, name, window):
    """The mean of a loss over the steps before each."""
    values = np.array([parts[name] for parts in history])
    return np.convolve(values, np.ones(window) / window, mode="valid")


def draw(path, image, labels, coin, otsu, history, scores):
    figure, panels = plt.subplots(2, 2, figsize=(13, 10.4), layout="constrained")
    figure.suptitle("Coins found with segloss.jax", fontsize=18, fontweight="bold")
    (target, found), (threshold, losses) = panels
    for panel, outline, title in (
        (target, labels > 0, "The target: a watershed's outlines"),
        (found, coin > 0.5, f"The network: intersection over union {scores['the network']:.3f} on the left"),
        (threshold, otsu, f"Otsu's threshold: {scores['a threshold (Otsu)']:.3f} on the left"),
    ):
        panel.imshow(image, cmap="gray", vmin=0, vmax=1)
        panel.contour(outline, levels=[0.5], colors="#e66100", linewidths=1.3)
        panel.axvline(CUT - 0.5, color="white", linestyle="--", linewidth=1.2)
        panel.set(xticks=[], yticks=[], title=title)
    window = max(1, len(history) // 20)
    for name, color in (("cross-entropy", "#0072b2"), ("boundary", "#e66100")):
        losses.plot([parts[name] for parts in history], color=color, alpha=0.25)
        losses.plot(np.arange(window - 1, len(history)), smooth(history, name, window), color=color, label=name)
    losses.set(xlabel="step", ylim=(0, None), title="Losses on the crops")
    losses.legend()
    figure.savefig(path, dpi=90)


def complaints(history, scores):
    """What went wrong, in sentences."""
    window = max(1, len(history) // 10)
    for name in ("cross-entropy", "boundary"):
        means = smooth(history, name, window)
        if not means[-1] < 0.7 * means[0]:
            yield f"{name} did not fall clearly: {means[0]:.3f} at the start, {means[-1]:.3f} at the end"
    network, threshold = scores["the network"], scores["a threshold (Otsu)"]
    if not network > max(GOOD, threshold):
        yield f"the network's score is {network:.3f}; {GOOD} and the threshold's {threshold:.3f} were to beat"


def parse_arguments():
    parser = argparse.ArgumentParser(description="Teach a small network to find coins with segloss.jax.")
    parser.add_argument("--steps", type=int, help="training steps (default: 300, or 150 with --quick)")
    parser.add_argument("--size", type=int, help="side of a crop (default: 96, or 64 with --quick)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and crops (default: %(default)s)")
    parser.add_argument("--output", default="segloss-jax.png", help="where the picture goes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer steps on smaller crops, for tests")
    arguments = parser.parse_args()
    arguments.steps = arguments.steps or (150 if arguments.quick else 300)
    arguments.size = arguments.size or (64 if arguments.quick else 96)
    if not (arguments.steps >= 10 and 16 <= arguments.size <= 254):
        parser.error("--steps must be at least 10, --size from 16 to 254")
    return arguments


def main():
    arguments = parse_arguments()
    print(f"segloss {segloss.__version__}, {segloss.instruction_set()}; jax {jax.__version__}")
    image, labels = load()
    network, history = train(image, labels, arguments.steps, arguments.size, arguments.seed)

    coin = np.asarray(jax.nn.softmax(predict(network, image[None, None]), axis=1)[0, 1])
    otsu = image > filters.threshold_otsu(image)
    scores = {
        name: overlap(found[:, :CUT], labels[:, :CUT])
        for name, found in (("the network", coin > 0.5), ("a threshold (Otsu)", otsu))
    }
    window = max(1, len(history) // 10)
    for name in history[0]:
        means = smooth(history, name, window)
        print(f"{name:<20}{means[0]:>8.3f} at the start{means[-1]:>8.3f} at the end")
    for name, score in scores.items():
        print(f"{name:<20}{score:>8.3f} intersection over union on the coins that were not seen")
    draw(arguments.output, image, labels, coin, otsu, history, scores)
    print(f"the picture: {arguments.output}")

    failures = list(complaints(history, scores))
    for sentence in failures:
        print(f"FAILED: {sentence}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
