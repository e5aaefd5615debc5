from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _abi, _call
from ._tensor import _CODES, View, view

# How many the library has where none are given.
_HEIGHTS = 10
_INSIDE_WEIGHTS = {"published": (1.0, 1.0, 1.0, 1.0), "paper": (0.0, 1.0, 0.0, 1.0)}


class CTPNAnchorTargets(NamedTuple):
    """What `CTPNLoss` takes as maps: ``loss(cls, box, *targets[:4])``, with sides ``loss(cls, box, *targets[:4], side,
    *targets[4:])``."""

    #: 1 x H x W x A int32: 1 text, 0 background, -1 ignored.
    rpn_labels: np.ndarray
    #: 1 x H x W x A·4 float32: dx, dy, dw, dh to the box that an anchor overlaps most.
    rpn_bbox_targets: np.ndarray
    rpn_bbox_inside_weights: np.ndarray
    rpn_bbox_outside_weights: np.ndarray
    #: 1 x H x W x A float32: from the centre to the nearer end of the line, in widths.
    rpn_side_targets: np.ndarray
    rpn_side_mask: np.ndarray


def ctpn_anchor_targets(
    gt_boxes: Any,
    image_size: Any,
    feature_size: Any,
    *,
    seed: Any = None,
    variant: str = "published",
    line_boxes: Any = None,
    stride: int = 16,
    heights: Sequence[float] | None = None,
    width: float = 16.0,
    negative_overlap: float = 0.3,
    positive_overlap: float = 0.7,
    batch_size: int = 300,
    fg_fraction: float = 0.5,
    clobber_positives: bool = False,
    inside_weights: Sequence[float] | None = None,
    positive_weight: float = -1.0,
    side_distance: float = 32.0,
) -> CTPNAnchorTargets:
    """What the anchors of a Connectionist Text Proposal Network are trained towards, from the boxes of an image.

    Anchors stand round the middle of each ``stride`` x ``stride`` square of the image, one for each height, their
    corners cut to whole pixels; one counts if it lies inside the image. Overlap is intersection over union of pixels
    (``x2 - x1 + 1``). An anchor is 0 if it overlaps every box by less than ``negative_overlap``; 1 if it overlaps one
    by at least ``positive_overlap``, or if no anchor overlaps some box more (ties included); else -1. Then a batch is
    kept and the rest become -1.

    Parameters
    ----------
    gt_boxes : n x 4 or n x 5, any numbers
        x1, y1, x2, y2 of each box (and a class, not read), in pixels, both corners included. CTPN is taught pieces of
        lines as wide as its anchors. None at all (``[]``): every anchor inside is background.
    image_size : (height, width)
    feature_size : (H, W)
        Of the feature map.
    seed : None, int, numpy.random.RandomState or numpy.random, keyword only
        What draws the batch: nothing, and the first anchors are kept; a generator seeded with that number; that
        generator, which goes on from image to image; or numpy's global one, as upstream. The same anchors as upstream
        draws.
    variant : {"published", "paper"}, keyword only
        ``published``: a box that overlaps no anchor makes every anchor text (of those inside the image: its largest
        overlap is 0, and they all have that). ``paper``: a box marks anchors only if it overlaps some; boxes with
        ``x2 < x1`` or ``y2 < y1``, which give NaN targets in the published code, are refused.
    line_boxes : as gt_boxes, default gt_boxes, keyword only
        The whole lines, to whose ends the side targets lead.
    stride : int, default 16, keyword only
        Pixels from one place of the feature map to the next.
    heights : sequence of float, default (11, 16, 23, 33, 48, 68, 97, 139, 198, 283), keyword only
        Of the A anchors in each place.
    width : float, default 16, keyword only
    negative_overlap, positive_overlap : float, default 0.3 and 0.7, keyword only
    batch_size : int, default 300, keyword only
        Anchors that are kept, at most ``int(fg_fraction·batch_size)`` of them text.
    fg_fraction : float, default 0.5, keyword only
    clobber_positives : bool, default False, keyword only
        Whether the rule for 0 overrides that for 1.
    inside_weights : four floats, default (1, 1, 1, 1) published, (0, 1, 0, 1) paper, keyword only
        Of dx, dy, dw, dh on text anchors. CTPN regresses dy and dh.
    positive_weight : float, default -1, keyword only
        Below 0: outside weights are 1 on text anchors, 0 elsewhere. In (0, 1): ``w/F + 1`` on text and
        ``(1 - w)/B + 1`` on background (F and B anchors), a slip of the published code for ``w/(F + 1)`` and
        ``(1 - w)/(B + 1)``, which the paper variant has.
    side_distance : float, default 32, keyword only
        A text anchor is a side anchor if an end of the line that it overlaps most is that near to its centre, in
        pixels.

    Returns
    -------
    CTPNAnchorTargets
        ``rpn_labels``, ``rpn_bbox_targets``, ``rpn_bbox_inside_weights``, ``rpn_bbox_outside_weights``,
        ``rpn_side_targets``, ``rpn_side_mask``. Targets are there for every anchor inside the image; anchors outside
        have label -1 and zeros. ``rpn_side_targets`` is ``(end - centre)/width``, the end being the line's x1 or x2.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came; also for coordinates that are NaN or infinite.

    References
    ----------
    Tian et al. 2016 (arXiv 1609.03605), section 3; eragonruan/text-detection-ctpn, branch banjin-dev, whose data are
    prepared as pieces 16 pixels wide. It has no side targets: those are the paper's o*.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.array([32, 40, 79, 62])
    >>> pieces = [[x, 40, x + 15, 62] for x in (32, 48, 64)]
    >>> targets = ctpn_anchor_targets(pieces, (160, 160), (10, 10), variant="paper", line_boxes=[line])
    >>> targets.rpn_labels.shape, [int((targets.rpn_labels == label).sum()) for label in (1, 0)]
    ((1, 10, 10, 10), [3, 297])
    >>> text = targets.rpn_labels == 1
    >>> targets.rpn_side_targets[text]  # one near the left end, two near the right
    array([-0.5   ,  1.4375,  0.4375], dtype=float32)
    >>> rng = np.random.default_rng(0)
    >>> cls, box = rng.standard_normal((1, 10, 10, 20)), rng.standard_normal((1, 10, 10, 40))
    >>> from segloss import CTPNLoss
    >>> sorted(CTPNLoss(variant="paper")(cls, box, *targets[:4]))
    ['loss', 'model_loss', 'rpn_cross_entropy', 'rpn_loss_box', 'rpn_loss_side']
    """
    number = _call.choice("variant", variant, _abi.CTPN_VARIANT)
    inside = _numbers("inside_weights", _INSIDE_WEIGHTS[variant] if inside_weights is None else inside_weights, 4)
    options = _abi.CTPNAnchorTargetsOptions(
        variant=number,
        stride=_int32("stride", stride),
        batch_size=_int32("batch_size", batch_size),
        clobber_positives=_call.boolean("clobber_positives", clobber_positives),
        width=_call.number("width", width),
        negative_overlap=_call.number("negative_overlap", negative_overlap),
        positive_overlap=_call.number("positive_overlap", positive_overlap),
        fg_fraction=_call.number("fg_fraction", fg_fraction),
        positive_weight=_call.number("positive_weight", positive_weight),
        inside_dx=inside[0],
        inside_dy=inside[1],
        inside_dw=inside[2],
        inside_dh=inside[3],
        side_distance=_call.number("side_distance", side_distance),
    )
    image_height, image_width = _numbers("image_size", image_size, 2)
    rows, columns = (_call.count("feature_size", extent) for extent in _pair("feature_size", feature_size))
    anchors = None if heights is None else np.array(_numbers("heights", heights), np.float64)
    count = _HEIGHTS if anchors is None else len(anchors)
    inputs = [
        _boxes("gt_boxes", gt_boxes),
        None if line_boxes is None else _boxes("line_boxes", line_boxes),
        None if anchors is None else view("heights", anchors),
    ]
    try:
        result = CTPNAnchorTargets(
            np.empty((1, rows, columns, count), np.int32),
            *(np.empty((1, rows, columns, 4 * count), np.float32) for _ in range(3)),
            *(np.empty((1, rows, columns, count), np.float32) for _ in range(2)),
        )
    except (ValueError, MemoryError):
        raise ValueError(f"feature_size: {rows} x {columns} places with {count} anchors are too many") from None
    generator = _generator(seed)
    _call.invoke(
        _abi.ctpn_anchor_targets,
        *inputs,
        image_height,
        image_width,
        options,
        generator,
        *(view(name, array) for name, array in zip(result._fields, result)),
        names={"image_height": "image_size", "image_width": "image_size", "rpn_labels": "feature_size"},
    )
    _put_back(generator, seed)
    return result


def _int32(name: str, value: Any) -> int:
    result = _call.count(name, value)
    if result >= 2**31:
        raise ValueError(f"{name}: expected a number below 2147483648, got {result}")
    return result


def _pair(name: str, value: Any) -> Sequence[Any]:
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected two numbers, height and width, got {value!r}") from None
    return first, second


def _numbers(name: str, value: Any, count: int | None = None) -> list[float]:
    try:
        items = list(value)
    except TypeError:
        raise TypeError(f"{name}: expected a sequence of numbers, got {type(value).__name__}") from None
    if count is not None and len(items) != count:
        raise ValueError(f"{name}: expected {count} numbers, got {len(items)}")
    return [_call.number(name, item) for item in items]


def _boxes(name: str, value: Any) -> View:
    """Boxes in whatever holds them: lists too, and numbers that the library does not read are widened."""
    if isinstance(value, (list, tuple)):
        try:
            value = np.array([[_call.number(name, c, finite=False) for c in box] for box in value], np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: expected boxes of 4 or 5 numbers") from None
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size == 0:
            value = np.zeros((0, 4))
        if value.dtype.kind in "iuf" and (value.dtype.name not in _CODES or not value.dtype.isnative):
            value = value.astype(np.float64)
    return view(name, value)


def _generator(seed: Any) -> _abi.MT19937 | None:
    if seed is None:
        return None
    generator = _abi.MT19937()
    if not hasattr(seed, "set_state"):
        number = _call.count("seed", seed)
        if number >= 2**32:
            raise ValueError(f"seed: expected a number below 4294967296, got {number}")
        _abi.mt19937_seed(generator, number)
        return generator
    state = seed.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise ValueError(f"seed: expected a generator of MT19937, got one of {state['bit_generator']}")
    generator.key[:] = state["state"]["key"].tolist()
    generator.position = int(state["state"]["pos"])
    return generator


def _put_back(generator: _abi.MT19937 | None, seed: Any) -> None:
    """Lets a generator that was given go on from where the draws have left it."""
    if generator is not None and hasattr(seed, "set_state"):
        state = seed.get_state(legacy=False)
        state["state"] = {"key": np.array(generator.key, np.uint32), "pos": generator.position}
        seed.set_state(state)
