"""The picture of the demo: what went in, what came out, and what the loss asked for in between."""

import matplotlib

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch, Rectangle
from skimage import measure
from text_data import THRESHOLD_MAX

CORE, BORDER, INK = np.array([0.90, 0.38, 0.00]), np.array([0.00, 0.45, 0.70]), "0.25"


def draw(path, page, held_out, before, after, push, push_step, history, scores, losses_of="on all it trains on"):
    """Draw the panels and save them.

    before, after: ((P, T) of the training part, (P, T) of the held-out part); push: the step asked of P's logit at
    training step `push_step`; history: the loss parts of every step, on what `losses_of` says; scores: name ->
    (precision, recall, F), the detector first.
    """
    cut = page.image.shape[1]
    image = np.concatenate((page.image, held_out.image), axis=1)
    (prob_before, thresh_before), (prob, thresh) = (np.concatenate(maps, axis=2) for maps in (before, after))
    shrink_map, shrink_mask, threshold_map = (
        np.concatenate((getattr(page, name), getattr(held_out, name)), axis=1)
        for name in ("shrink_map", "shrink_mask", "threshold_map")
    )

    figure = plt.figure(figsize=(15, 12.4), layout="constrained")
    figure.suptitle("A text detector learning from segloss.DBLoss", fontsize=19, fontweight="bold")
    rows = figure.add_gridspec(3, 2)
    panels = [figure.add_subplot(rows[i // 2, i % 2]) for i in range(5)]
    for panel in panels:
        panel.set(xticks=[], yticks=[])
        panel.axvline(cut - 0.5, color=INK, linestyle=(0, (5, 3)), linewidth=1.4)

    original, target, untrained, trained, gradient = panels
    original.imshow(image, cmap="gray", vmin=0, vmax=1)
    for text, side, shift in (("trained on  ◂", "right", -5), ("▸  held out", "left", 4)):
        original.text(cut + shift, 140, text, ha=side, va="center", fontsize=12, fontweight="bold")
    title(original, "1  The page", "left: trained on, with a photograph of handwriting;  right: never seen in training")

    target.imshow(overlay(image, shrink_map, threshold_map))
    target.contourf(shrink_mask, levels=[-1, 0.5], colors=["0.6"])
    title(target, "2  The target", "word boxes, shrunken, and the borders where the threshold is learned")
    target.legend(
        handles=[
            Patch(color=CORE, label="word core (P)"),
            Patch(color=0.3 + 0.7 * BORDER, label="word border (T)"),
            Patch(color="0.6", label="speck: does not count"),
        ],
        loc="lower right",
        fontsize=9,
    )

    untrained.imshow(overlay(image, prob_before, thresh_before))
    title(untrained, "3  The prediction before training", "random weights: P and T mean nothing yet")

    trained.imshow(overlay(image, prob, thresh))
    for frame in word_frames(prob):
        trained.add_patch(frame)
    title(trained, f"4  The prediction after {len(history) - 1} steps", "frames: the words that DB reads off P")

    draw_gradient(gradient, image, push[: image.shape[0], :cut], push_step)

    corner = rows[2, 1].subgridspec(1, 2, wspace=0.1)
    draw_losses(figure.add_subplot(corner[0]), history, losses_of)
    draw_scores(figure.add_subplot(corner[1]), scores)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def title(panel, what, detail):
    """A bold title and a plain line under it."""
    panel.set_title(detail, loc="left", fontsize=10.5, color=INK)
    above = dict(xycoords="axes fraction", xytext=(0, 21), textcoords="offset points")
    panel.annotate(what, (0, 1), **above, fontsize=14, fontweight="bold")


def overlay(image, prob, thresh):
    """The page in faint grey, P over it in orange, T in blue where it is raised as it is on a word's border."""
    colour = np.repeat((0.4 + 0.6 * image)[..., np.newaxis], 3, axis=2)
    raised = np.clip((thresh - 0.5) / (THRESHOLD_MAX - 0.5), 0, 1)
    for strength, paint in ((0.7 * raised, BORDER), (0.85 * prob, CORE)):
        colour += strength[..., np.newaxis] * (paint - colour)
    return colour


def word_frames(prob, unclip_ratio=2.0, min_area=12):
    """Read the words off P as DB does: every core above one half, grown back to about the size of its word."""
    for region in measure.regionprops(measure.label(prob > 0.5)):
        if region.area < min_area:
            continue
        top, left, bottom, right = region.bbox
        width = right - left
        margin = unclip_ratio * region.area / (2 * (width + region.area / width))
        corner, height = (left - margin - 0.5, top - margin - 0.5), bottom - top
        yield Rectangle(corner, width + 2 * margin, height + 2 * margin, fill=False, edgecolor="black", linewidth=1.1)


def draw_gradient(panel, image, push, step):
    """The step that the loss asks of every pixel, in two colours whose meaning stands beside them."""
    field = np.full(image.shape, np.nan)
    field[:, : push.shape[1]] = push / np.percentile(np.abs(push), 99.5)
    shown = panel.imshow(field, cmap="PuOr_r", vmin=-1, vmax=1)
    title(panel, "5  Where the gradient pushes", f"at step {step}: what the loss asks of P, directly and through B")

    bar = panel.figure.colorbar(shown, cax=panel.inset_axes([0.71, 0.28, 0.025, 0.6]))
    bar.set_ticks([-1, 0, 1], labels=["lower the\nprobability", "leave it", "raise the\nprobability"])
    bar.ax.tick_params(length=0, labelsize=11.5)
    panel.text(0.83, 0.1, "held out: no gradient", transform=panel.transAxes, ha="center", color="0.4", fontsize=11)


def draw_losses(panel, history, detail):
    """The four losses over the steps, each named above the end of its line."""
    names = ("loss", "loss_shrink_maps", "loss_threshold_maps", "loss_binary_maps")
    for name, label, colour in zip(names, ("all", "shrink", "threshold", "binary"), ("black", CORE, BORDER, "0.45")):
        values = [parts[name] for parts in history]
        panel.plot(values, color=colour, linewidth=2)
        text = f"{label} {values[0]:.2f} → {values[-1]:.2f}"
        panel.text(len(values) - 1, values[-1] + 0.04, text, ha="right", va="bottom", fontsize=10, color=colour)
    panel.set(xlim=(0, len(history) - 1), ylim=(0, None), xlabel="training step")
    panel.spines[["top", "right"]].set_visible(False)
    title(panel, "6  The losses fall", detail)


def draw_scores(panel, scores):
    """F of the detector and of the thresholds: bars with their names above them."""
    for row, (name, (_, _, f)) in enumerate(scores.items()):
        panel.barh(row, f, height=0.42, color=CORE if row == 0 else "0.7")
        panel.text(0.01, row - 0.27, name, fontsize=10, va="bottom", in_layout=False)
        panel.text(f + 0.02, row, f"{f:.2f}", fontsize=11, va="center", fontweight="bold" if row == 0 else None)
    panel.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -0.8), xticks=[], yticks=[])
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    title(panel, "7  Beside thresholds", "F on held-out pixels")
