"""Train a small U-Net in Keras with segloss.tensorflow.DiceBCELoss to find the coins of a photograph.

The photograph ships inside scikit-image, so nothing is downloaded. Its light falls off to one side: no one threshold
tells coins from background. The labels are grown from what is certainly coin and certainly background, along the edges
between them. Training takes patches of the right of the photograph, lit from random sides; the left, where the
background is as bright as coins elsewhere, is held out. The script fails (exit code 1) if the loss did not fall by half
or if the network does not clearly beat a global threshold there.

    python keras_dice_bce.py [--epochs 6] [--steps 30] [--seed 0] [--output segloss-coins.png] [--quick]
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib
import numpy as np
import segloss.tensorflow
from keras import layers
from scipy import ndimage
from skimage import data, filters, segmentation

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt

PATCH = 64
HELD_OUT = 128  # columns on the left; a multiple of 4, as the network needs
CLEARLY = 0.05  # the network's IoU must be this much above the threshold's


# -- The photograph ----------------------------------------------------------------------------------------------------


def load_coins():
    """(image, coins): H x W, grey values in [0, 1] and 0 or 1."""
    image = data.coins()
    seeds = np.zeros(image.shape, int)
    seeds[image < 30], seeds[image > 150] = 1, 2
    coins = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(image), seeds) == 2)
    height = image.shape[0] // 4 * 4
    return image[:height].astype(np.float32) / 255, coins[:height].astype(np.uint8)


def patches(image, coins, count, rng):
    """Random patches, turned and mirrored, with light that falls off to a side: N x PATCH x PATCH x 1 each."""
    xs, ys = [], []
    across = np.linspace(-0.5, 0.5, PATCH)
    for _ in range(count):
        top, left = (rng.integers(0, extent - PATCH + 1) for extent in image.shape)
        turns, mirrored = rng.integers(4), rng.integers(2)
        for source, chosen in ((image, xs), (coins, ys)):
            patch = np.rot90(source[top : top + PATCH, left : left + PATCH], turns)
            chosen.append(patch[:, ::-1] if mirrored else patch)
        down, right, all_over = rng.uniform(-0.3, 0.3, 3)
        xs[-1] = xs[-1] * rng.uniform(0.6, 1.2) + down * across[:, None] + right * across + all_over
    return np.stack(xs)[..., None].astype(np.float32), np.stack(ys)[..., None]


# -- The network -------------------------------------------------------------------------------------------------------


def u_net(width=8):
    """Two levels down and up again; logits out, any height and width that 4 divides."""

    def block(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.Activation("relu")(layers.GroupNormalization(4)(x))
        return x

    inputs = x = layers.Input((None, None, 1))
    skips = []
    for level in range(2):
        skips.append(block(x, width << level))
        x = layers.MaxPooling2D()(skips[-1])
    x = block(x, width << 2)
    for level in (1, 0):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skips[level]])
        x = block(x, width << level)
    return keras.Model(inputs, layers.Conv2D(1, 1)(x))


# -- Judging -----------------------------------------------------------------------------------------------------------


def iou(found, coins):
    """Intersection over union of two maps of coin pixels."""
    return np.count_nonzero(found & (coins > 0)) / max(np.count_nonzero(found | (coins > 0)), 1)


def draw(path, image, coins, probability, threshold, losses, scores):
    """The held-out part as photographed, as the threshold and as the network see it, and the loss."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 5), layout="constrained")
    titles = (
        "held out, with its labels",
        *(f"{name}: IoU {score:.3f}" for name, score in scores.items()),
    )
    for axis, title, picture in zip(axes, titles, (image, probability, image > threshold)):
        axis.imshow(picture, cmap="gray")
        axis.contour(coins, [0.5], colors="#e66100", linewidths=1)
        axis.set(title=title, xticks=[], yticks=[])
    axes[3].plot(np.arange(1, len(losses) + 1), losses, color="#0072b2")
    axes[3].set(title="DiceBCELoss", xlabel="epoch", ylim=(0, None))
    figure.savefig(path, dpi=110)


def complaints(losses, scores):
    """What went wrong, in sentences; empty if the example shows what it should."""
    if not losses[-1] < losses[0] / 2:
        yield f"the loss did not fall by half: {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last"
    network, threshold = scores.values()
    if not network >= threshold + CLEARLY:
        yield f"the network's IoU of {network:.3f} is not {CLEARLY} above the threshold's, {threshold:.3f}"


# -- The example -------------------------------------------------------------------------------------------------------


def parse_arguments():
    parser = argparse.ArgumentParser(description="Train a small U-Net with segloss.tensorflow.DiceBCELoss.")
    parser.add_argument("--epochs", type=int, help="(default: 6, or 3 with --quick)")
    parser.add_argument(
        "--steps",
        type=int,
        default=30,
        help="batches of an epoch (default: %(default)s)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=16,
        help="patches of a batch (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of weights and patches (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        default="segloss-coins.png",
        help="where the picture goes (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="few epochs, for tests")
    arguments = parser.parse_args()
    if arguments.epochs is None:
        arguments.epochs = 3 if arguments.quick else 6
    if min(arguments.epochs, arguments.steps, arguments.batch) < 1:
        parser.error("--epochs, --steps and --batch must be at least 1")
    if not os.path.isdir(os.path.dirname(os.path.abspath(arguments.output))):
        parser.error(f"--output: the folder of {arguments.output} does not exist")
    return arguments


def main():
    arguments = parse_arguments()
    keras.utils.set_random_seed(arguments.seed)
    image, coins = load_coins()
    train, held_out = np.s_[:, HELD_OUT:], np.s_[:, :HELD_OUT]
    rng = np.random.default_rng(arguments.seed)
    x, y = patches(image[train], coins[train], arguments.steps * arguments.batch, rng)

    network = u_net()
    # With an accelerator in sight Keras would compile with XLA, which knows no operations of other libraries.
    network.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=segloss.tensorflow.DiceBCELoss(),
        jit_compile=False,
    )
    losses = network.fit(x, y, batch_size=arguments.batch, epochs=arguments.epochs).history["loss"]

    logits = network.predict(image[held_out][None, ..., None], verbose=0)[0, ..., 0]
    threshold = filters.threshold_otsu(image[train])
    scores = {
        "U-Net": iou(logits > 0, coins[held_out]),
        "threshold (Otsu)": iou(image[held_out] > threshold, coins[held_out]),
    }
    print("\nIoU on the held-out left of the photograph")
    for name, score in scores.items():
        print(f"{name:<20}{score:>8.3f}")
    probability = 1 / (1 + np.exp(-logits))
    draw(
        arguments.output,
        image[held_out],
        coins[held_out],
        probability,
        threshold,
        losses,
        scores,
    )
    print(f"\nthe picture: {arguments.output}")

    failures = list(complaints(losses, scores))
    for sentence in failures:
        print(f"FAILED: {sentence}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
