"""`python -m segloss gallery OUT.png`: where does each loss push a prediction of a photograph?

The photograph is scikit-image's of coins. Its target is what a watershed finds, and its prediction a real one with real
mistakes: a logistic regression on blurred grey levels, trained here with `BCELoss`, which misses dark parts of coins and takes
the bright corner for one. Shown is minus the gradient by each pixel's logit, what a step of gradient descent asks for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import segloss

from .._loss import Loss
from . import console, names, scenes

_MISSING = "the gallery needs scikit-image and matplotlib: pip install 'libsegloss[demo]'"
_SIGMA = 2
_TRAINING_STEPS = 60
# What shows a loss's point where its defaults do not: coins leave no more than two negatives for a positive, so that a
# ratio of 3 chooses nothing.
_MINED = {"main_loss_type": "BCELoss", "negative_ratio": 0.3}
_ALSO: tuple[tuple[str, dict[str, Any]], ...] = (("FocalLoss", {"variant": "paper"}), ("BalanceLoss", _MINED))
_MORE: dict[str, list[dict[str, Any]]] = {
    "BalanceLoss": [_MINED],
    "TverskyLoss": [{"alpha": 0.1, "beta": 0.9}, {"alpha": 0.9, "beta": 0.1}],
    "FocalTverskyLoss": [{"alpha": 0.1, "beta": 0.9, "gamma": 0.75}],
    "BoundaryLoss": [{"theta0": 9, "theta": 15}],
    "SmoothL1Loss": [{"beta": 0.1}],
}
_BLUE_WHITE_ORANGE = ("#053061", "#2b7bba", "#a6cee8", "#ffffff", "#fdc38d", "#e6761b", "#7f2704")
_UP, _DOWN, _INK = "#c85f0e", "#2b7bba", "0.25"


def coins() -> tuple[Any, scenes.Scene]:
    """The photograph, and a prediction of its coins with their mask."""
    try:
        from scipy import ndimage
        from skimage import data, filters, segmentation
    except ImportError as error:
        raise ImportError(f"{_MISSING} ({error})") from None

    image = data.coins()
    markers = np.zeros(image.shape, np.int32)
    markers[image < 30], markers[image > 150] = 1, 2
    mask = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(image), markers) == 2)
    mask = ndimage.binary_opening(mask, iterations=3)

    grey = filters.gaussian(image / 255, _SIGMA)
    features = np.stack([np.ones_like(grey), (grey - grey.mean()) / grey.std()], axis=-1)
    weights, loss = np.zeros(2), segloss.BCELoss()
    for _ in range(_TRAINING_STEPS):
        _, gradient = loss.value_and_grad(features @ weights, mask)
        weights -= 2 * np.tensordot(gradient, features, 2)
    # Every second pixel: all of the photograph, and a pixel of it for each of the picture.
    logits, target, image = (features @ weights)[::2, ::2], mask[::2, ::2].astype(np.float64), image[::2, ::2]
    return image, scenes.Scene(logits[None], target[None], np.ones_like(logits)[None])


# ---------------------------------------------------------------- drawing


class _Panel:
    """Draws what all panels share: no ticks, a title, the outline of the target."""

    def __init__(self, outline: Any, font: float):
        self.outline, self.font = outline, font

    def show(self, axes: Any, image: Any, title: str, detail: str, **named: Any) -> None:
        axes.imshow(image, interpolation="nearest", **named)
        axes.contour(self.outline, [0.5], colors=_INK, linewidths=0.6)
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set(color="0.7", linewidth=0.6)
        axes.set_title(title, loc="left", fontsize=self.font, fontweight="bold", pad=self.font + 5)
        place = {"xycoords": "axes fraction", "xytext": (0, 3), "textcoords": "offset points"}
        axes.annotate(detail, (0, 1), fontsize=self.font - 2, color=_INK, va="bottom", **place)

    def inputs(self, axes: Any, image: Any, scene: scenes.Scene) -> None:
        self.show(axes[0], image, "Image", "with the outline of the coins", cmap="gray")
        self.show(axes[1], scene.target[0], "Target", "1 in the coins", cmap="gray_r", vmin=0, vmax=2.5)
        self.show(axes[2], scene.probability[0], "Prediction", "of a small classifier", cmap="Greys", vmin=0, vmax=1.3)

    def push(self, axes: Any, loss: Loss, title: str, scene: scenes.Scene) -> None:
        value, gradient = scenes.by_logit(loss, scene)
        push = -gradient[0]
        size = np.abs(push)
        up = push[push > 0].sum() / size.sum()
        # One pixel in 100 may be beyond the scale: a few extreme ones would leave the rest white.
        limit = np.quantile(size[size > 0], 0.99)
        detail = f"value {value:.3g}   ▲ {up:.0%}  ▼ {1 - up:.0%}"
        self.show(axes, push, title, detail, cmap=_colours(), vmin=-limit, vmax=limit)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("push", _BLUE_WHITE_ORANGE)


def _title(cls: type[Loss], options: dict[str, Any]) -> str:
    words = [v if isinstance(v, str) else f"{k.removeprefix('negative_')} {v}" for k, v in options.items()]
    # Loss is what they all are.
    return " ".join((cls.__name__.removesuffix("Loss") if len(words) > 1 else cls.__name__, *words))


def _figure(rows: int, columns: int, scene: scenes.Scene, width: float, top: float) -> tuple[Any, Any]:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(f"{_MISSING} ({error})") from None
    matplotlib.use("Agg")  # no screen needed
    import matplotlib.pyplot as plt

    height, across = scene.target.shape[1:]
    size = (columns * width, rows * (width * height / across + 0.42) + top)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.01)
    return figure, axes


def draw_all(path: Path, image: Any, scene: scenes.Scene) -> None:
    """One tile for each loss."""
    tiles: list[tuple[type[Loss], dict[str, Any]]] = [(cls, {}) for cls in segloss.LOSSES.values()]
    for name, options in _ALSO:
        cls = segloss.LOSSES[name]
        tiles.insert(tiles.index((cls, {})) + 1, (cls, options))
    columns = 6
    rows = -(-(len(tiles) + 4) // columns)
    figure, axes = _figure(rows, columns, scene, 2.1, 0.5)
    figure.suptitle("Where does each loss push?", fontsize=17, fontweight="bold", x=0.003, ha="left")
    panel = _Panel(scene.target[0], 9.5)
    flat = axes.ravel()
    panel.inputs(flat[:3], image, scene)
    _legend(flat[3])
    for place, (cls, options) in zip(flat[4:], console.progress(tiles, "drawing"), strict=False):
        panel.push(place, cls(**options), _title(cls, options), scene)
    for place in flat[4 + len(tiles) :]:
        place.axis("off")
    _save(figure, path)


def draw_one(path: Path, cls: type[Loss], image: Any, scene: scenes.Scene) -> None:
    """A tile for each variant of a loss."""
    variants = [*names.variants(cls), *_MORE.get(cls.__name__, [])]
    columns = min(3 + len(variants), 6)
    figure, axes = _figure(-(-(3 + len(variants)) // columns), columns, scene, 2.1, 0.1)
    panel, flat = _Panel(scene.target[0], 9.5), axes.ravel()
    panel.inputs(flat[:3], image, scene)
    for place, options in zip(flat[3:], variants, strict=False):
        panel.push(place, cls(**options), _title(cls, options), scene)
    for place in flat[3 + len(variants) :]:
        place.axis("off")
    _save(figure, path)


def _legend(axes: Any) -> None:
    axes.axis("off")
    lines = (
        ("▲ more foreground here", _UP, "bold"),
        ("▼ less foreground here", _DOWN, "bold"),
        ("Minus the gradient by each pixel's", _INK, "normal"),
        ("logit; every map on its own scale,", _INK, "normal"),
        ("white is no push. Percentages are", _INK, "normal"),
        ("shares of the sum of all pushes.", _INK, "normal"),
    )
    for i, (text, colour, weight) in enumerate(lines):
        place = {"transform": axes.transAxes, "in_layout": False}
        axes.text(0.02, 0.88 - 0.14 * i, text, color=colour, fontsize=7.8, fontweight=weight, **place)


def _save(figure: Any, path: Path) -> None:
    """As a picture of 256 colours, a third of the size."""
    import matplotlib.pyplot as plt
    from PIL import Image

    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)
    plt.close(figure)


def run(output: str, name: str | None) -> None:
    """Draws the gallery, or one loss; into a folder the gallery and a picture of each loss."""
    path = Path(output)
    if not path.is_dir() and (path.suffix.lower() != ".png" or not path.resolve().parent.is_dir()):
        raise ValueError(f"expected the path of a PNG in a folder that exists, or such a folder, got {output}")
    if path.is_dir() and name is not None:
        raise ValueError("expected the path of a PNG for one loss, got a folder")
    chosen = None if name is None else names.find_loss(name)
    image, scene = coins()
    drawn = []
    if chosen is not None:
        draw_one(path, chosen, image, scene)
        drawn.append(path)
    else:
        drawn.append(path / "gallery.png" if path.is_dir() else path)
        draw_all(drawn[0], image, scene)
        for cls in console.progress(list(segloss.LOSSES.values()) if path.is_dir() else [], "drawing each"):
            drawn.append(path / f"{cls.__name__.removesuffix('Loss')}.png")
            draw_one(drawn[-1], cls, image, scene)
    for picture in drawn:
        print(f"{picture} ({picture.stat().st_size / 1000:.0f} kB)")
