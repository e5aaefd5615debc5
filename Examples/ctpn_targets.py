"""CTPN's anchors on a photographed page, and a linear detector that learns from them: numpy alone.

The words of the page become pieces 16 pixels wide, as CTPN is taught them. segloss.ctpn_anchor_targets labels the
anchors and draws a new batch at every step from one generator; segloss.CTPNLoss compares, and its gradients go back
through one matrix. The script fails (exit code 1) if the loss did not fall by half.

    python ctpn_targets.py [--steps 150] [--seed 3] [--output segloss-ctpn.png] [--quick]
"""

import argparse
import sys

import matplotlib

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import numpy as np
import segloss
import text_data
from matplotlib.collections import PatchCollection
from matplotlib.patches import Patch, Rectangle
from skimage import data
from tqdm import tqdm

SCALE = 3  # the page is small: its letters come to the size that CTPN's anchors have
STRIDE, HEIGHTS = 16, (11, 16, 23, 33, 48, 68, 97, 139, 198, 283)
PARTS = ("loss", "rpn_cross_entropy", "rpn_loss_box", "rpn_loss_side")
TEXT, SIDE, BACKGROUND = "#e66100", "#0072b2", "0.55"


def load_page():
    """The page, and its words as (x1, y1, x2, y2), both corners included."""
    image = data.page().astype(np.float32) / 255
    boxes, _ = text_data.find_words(image, contrast=0.05)
    words = [(SCALE * left, SCALE * top, SCALE * right - 1, SCALE * bottom - 1) for top, left, bottom, right in boxes]
    return image.repeat(SCALE, 0).repeat(SCALE, 1), np.array(words, np.float64)


def pieces_of(words):
    """Every word cut at multiples of the stride."""
    return np.array(
        [
            (max(x, x1), y1, min(x + STRIDE - 1, x2), y2)
            for x1, y1, x2, y2 in words
            for x in np.arange(x1 // STRIDE * STRIDE, x2 + 1, STRIDE)
        ]
    )


def make_features(image, rows, columns, reach=48, step=4):
    """What a place sees: the ink of the 112 x 112 pixels around it, averaged over 4 x 4, and a 1."""
    ink = np.pad(np.median(image) - image, reach)
    small = ink[: len(ink) // step * step, : ink.shape[1] // step * step]
    small = small.reshape(len(small) // step, step, -1, step).mean((1, 3))
    size, hop = (2 * reach + STRIDE) // step, STRIDE // step
    windows = np.lib.stride_tricks.sliding_window_view(small, (size, size))[::hop, ::hop][:rows, :columns]
    features = windows.reshape(rows * columns, -1)
    return np.concatenate([features / features.std(), np.ones((rows * columns, 1))], axis=1).astype(np.float32)


class Adam:
    """Adam (Kingma & Ba 2015) on one array, in place."""

    def __init__(self, parameter, rate):
        self.parameter, self.rate, self.time = parameter, rate, 0
        self.mean, self.square = np.zeros_like(parameter), np.zeros_like(parameter)

    def step(self, grad):
        self.time += 1
        self.mean += 0.1 * (grad - self.mean)
        self.square += 0.001 * (grad**2 - self.square)
        mean, square = self.mean / (1 - 0.9**self.time), self.square / (1 - 0.999**self.time)
        self.parameter -= self.rate * mean / (np.sqrt(square) + 1e-8)


def train(image, words, steps, seed):
    """(targets of the last step, the loss parts of every step)"""
    rows, columns = image.shape[0] // STRIDE, image.shape[1] // STRIDE
    features = make_features(image, rows, columns)
    pieces, generator = pieces_of(words), np.random.RandomState(seed)
    loss, anchors = segloss.CTPNLoss(variant="paper"), len(HEIGHTS)
    # One matrix for all that an anchor has: two logits, four offsets, a side.
    weights = np.zeros((features.shape[1], 7 * anchors), np.float32)
    adam, history = Adam(weights, rate=0.002), []
    progress = tqdm(range(steps), desc="training", file=sys.stderr)
    for _ in progress:
        targets = segloss.ctpn_anchor_targets(
            pieces, image.shape, (rows, columns), seed=generator, variant="paper", line_boxes=words, heights=HEIGHTS
        )
        maps = (features @ weights).reshape(1, rows, columns, -1)
        cls, box, side = np.split(maps, (2 * anchors, 6 * anchors), axis=-1)  # views: read where they are
        grad = np.empty_like(maps)
        out = tuple(np.split(grad, (2 * anchors, 6 * anchors), axis=-1))
        parts, _ = loss.value_and_grad(cls, box, *targets[:4], side, *targets[4:], out=out)
        adam.step(features.T @ grad.reshape(rows * columns, -1))
        history.append(parts)
        progress.set_postfix(loss=f"{parts['loss']:.3f}")
    return targets, history


def rectangles(mask, **style):
    """The anchors where a 1 x H x W x A mask is true."""
    height = np.array(HEIGHTS)
    top, bottom = np.trunc(7.5 - height / 2), np.trunc(7.5 + height / 2)
    patches = [
        Rectangle((STRIDE * w, STRIDE * h + top[a]), STRIDE, bottom[a] - top[a] + 1) for _, h, w, a in np.argwhere(mask)
    ]
    return PatchCollection(patches, **style)


def draw(path, image, words, targets, history):
    figure, (page, losses) = plt.subplots(1, 2, figsize=(17, 6), layout="constrained", width_ratios=(3.2, 1))
    page.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    text, side = targets.rpn_labels == 1, targets.rpn_side_mask == 1
    page.add_collection(rectangles(targets.rpn_labels == 0, facecolor="none", edgecolor=BACKGROUND, linewidth=0.6))
    page.add_collection(rectangles(text & ~side, facecolor=TEXT, alpha=0.45))
    page.add_collection(rectangles(side, facecolor=SIDE, alpha=0.55))
    for x1, y1, x2, y2 in words:
        page.add_patch(Rectangle((x1, y1), x2 - x1 + 1, y2 - y1 + 1, fill=False, edgecolor="black", linewidth=0.6))
    page.set(xticks=[], yticks=[], xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    page.set_title("One batch of CTPN's anchors on a page", loc="left", fontweight="bold")
    handles = [
        Patch(color=TEXT, alpha=0.45, label=f"text ({(text & ~side).sum()})"),
        Patch(color=SIDE, alpha=0.55, label=f"text, at a word's end ({side.sum()})"),
        Patch(facecolor="none", edgecolor=BACKGROUND, label=f"background ({(targets.rpn_labels == 0).sum()})"),
        Patch(facecolor="none", edgecolor="black", label=f"words ({len(words)})"),
    ]
    page.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, frameon=False)
    for name, colour in zip(PARTS, ("black", TEXT, "0.5", SIDE)):
        losses.plot([parts[name] for parts in history], color=colour, label=name, linewidth=1.6)
    losses.set(xlabel="training step", ylim=(0, None), xlim=(0, len(history) - 1))
    losses.set_title("The losses fall", loc="left", fontweight="bold")
    losses.spines[["top", "right"]].set_visible(False)
    losses.legend(frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--output", default="segloss-ctpn.png")
    parser.add_argument("--quick", action="store_true", help="a third of the steps")
    options = parser.parse_args()

    image, words = load_page()
    targets, history = train(image, words, options.steps // 3 if options.quick else options.steps, options.seed)
    draw(options.output, image, words, targets, history)
    for name in PARTS:
        print(f"{name:20s} {history[0][name]:.4f} -> {history[-1][name]:.4f}")
    print(f"{len(words)} words; the picture is in {options.output}")
    if not history[-1]["loss"] < 0.5 * history[0]["loss"]:
        sys.exit("the loss did not fall by half")


if __name__ == "__main__":
    main()
