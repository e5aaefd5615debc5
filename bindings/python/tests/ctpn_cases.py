"""Inputs of CTPN's loss and of its targets, for every test that needs some."""

import numpy as np
import segloss

PREDICTIONS = ("cls", "box", "side")


def draw(shape, seed=0, dtype=np.float64, target=None, side=True, kept=0.7):
    """{argument: map} in the order of the call for anchors (1, H, W, A), all numbers exact in every element type:
    multiples of 1/64 up to 2, and weights 0, 1/2, 1. Labels and the side's arrays stay what they are made of."""
    rng = np.random.default_rng([seed, *shape])
    n, h, w, a = shape

    def number(k):
        return rng.integers(-128, 129, (n, h, w, a * k)) / 64

    labels = rng.choice([1, 0, -1], shape, p=[kept / 2, kept / 2, 1 - kept]).astype(np.int32)
    text = np.repeat(labels == 1, 4, axis=-1)
    inside = np.where(text, rng.integers(0, 3, text.shape) / 2, 0)
    outside = np.where(text, 1, rng.integers(0, 2, text.shape) / 2)
    arrays = {
        "cls": 2 * number(2),
        "box": number(4),
        "rpn_labels": labels,
        "rpn_bbox_targets": number(4),
        "rpn_bbox_inside_weights": inside,
        "rpn_bbox_outside_weights": outside,
    }
    if side:
        arrays["side"] = number(1)
        arrays["side_targets"] = number(1)
        arrays["side_mask"] = (rng.random(shape) < 0.4).astype(np.float64)
    target = dtype if target is None else target
    return {k: v if k == "rpn_labels" else v.astype(dtype if k in PREDICTIONS else target) for k, v in arrays.items()}


NUMBERS = {"cls": 2, "box": 4, "rpn_bbox_targets": 4, "rpn_bbox_inside_weights": 4, "rpn_bbox_outside_weights": 4}


def rows(inputs):
    """The same anchors as rows, without a copy where there need not be one."""
    return {k: v.reshape(-1, NUMBERS[k]) if k in NUMBERS else v.reshape(-1) for k, v in inputs.items()}


def heads(inputs):
    """The predictions as a convolution leaves them: channels (anchor, number), and of a box dy and dh alone."""
    inputs = dict(inputs)
    n, h, w, a4 = inputs["box"].shape
    inputs["box"] = inputs["box"].reshape(n, h, w, a4 // 4, 4)[..., 1::2].reshape(n, h, w, a4 // 2)
    for name in PREDICTIONS:
        if name in inputs:
            inputs[name] = np.ascontiguousarray(np.moveaxis(inputs[name], -1, 1))
    return inputs


def run(inputs, options=None, **keywords):
    """(parts, tuple of gradients)"""
    return segloss.CTPNLoss(return_parts=True, **(options or {})).value_and_grad(*inputs.values(), **keywords)


# ---------------------------------------------------------------- pages


def page(seed, count, height=592, width=848):
    """(boxes, image size, feature size): pieces of lines 16 wide as CTPN's data are, on the grid, some of them cut by
    the page's edges."""
    rng = np.random.default_rng(seed)
    boxes = []
    while len(boxes) < count:
        x, y = 16 * rng.integers(-1, width // 16), rng.integers(-20, height)
        h = rng.integers(8, 150)
        for i in range(rng.integers(1, 12)):
            boxes.append([x + 16 * i, y, x + 16 * i + 15, y + h])
    return np.array(boxes[:count], np.float64).reshape(-1, 4), (height, width), (height // 16, width // 16)


# ---------------------------------------------------------------- what every instruction set must agree on


def results():
    """Results to compare between instruction sets."""
    for dtype in (np.float32, np.float64, np.float16):
        for shape in ((1, 1, 1, 1), (1, 3, 5, 2), (1, 17, 23, 10)):
            for layout in (dict, rows, heads):
                for options in ({}, {"variant": "paper"}):
                    yield run(layout(draw(shape, dtype=dtype)), options)
    for options in ({}, {"variant": "paper"}):
        boxes, image, feature = page(1, 60)
        yield {}, tuple(segloss.ctpn_anchor_targets(boxes + 0.25, image, feature, seed=3, **options))
