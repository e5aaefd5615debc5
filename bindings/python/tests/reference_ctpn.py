"""CTPN in float64, written the slow and obvious way: the loss on rows, and the targets of its anchors.

Nothing here knows how segloss computes anything. Overlaps are one full matrix, draws are numpy's own, and gradients are
derived by hand; `test_ctpn.py` holds them against finite differences and TensorFlow's automatic ones.
"""

import numpy as np
from reference import total, wide

HEIGHTS = (11, 16, 23, 33, 48, 68, 97, 139, 198, 283)


# ---------------------------------------------------------------- the loss


def smooth_l1(d, sigma2):
    """The value and the derivative; strictly below 1/sigma2 it is the parabola."""
    near = np.abs(d) < 1 / sigma2
    return np.where(near, sigma2 * d * d / 2, np.abs(d) - 0.5 / sigma2), np.where(near, sigma2 * d, np.sign(d))


def ctpn_loss(
    cls,
    box,
    labels,
    targets,
    inside,
    outside,
    side=None,
    side_targets=None,
    side_mask=None,
    *,
    variant="published",
    sigma2=None,
    lambda1=1.0,
    lambda2=2.0,
):
    """Rows: cls (n, 2), box, targets and weights (n, 4), the rest (n,)."""
    sigma2 = {"published": 9.0, "paper": 1.0}[variant] if sigma2 is None else sigma2
    cls, box, targets, inside, outside, side, side_targets, side_mask = wide(
        cls, box, targets, inside, outside, side, side_targets, side_mask
    )
    labels = np.asarray(labels).astype(np.int64)
    kept = labels != -1
    n, positives = kept.sum(), (labels == 1).sum()
    grads = [np.zeros_like(cls), np.zeros_like(box), None if side is None else np.zeros_like(side)]

    # Of two classes, by how much the wrong one is ahead: nothing is subtracted from 1, and the smallest entropies count.
    s, y = cls[kept], labels[kept]
    ahead = s[np.arange(n), 1 - y] - s[np.arange(n), y]
    with np.errstate(over="ignore"):
        wrong = 1 / (1 + np.exp(-ahead))
    classes = float(total(np.logaddexp(0, ahead)) / n) if n else 0.0
    if n:
        grads[0][kept] = np.stack([wrong, wrong], axis=1) * np.where(np.eye(2)[y] > 0, -1, 1) / n

    divisor = positives + 1 if variant == "published" else max(positives, 1)
    iw, ow = inside[kept], outside[kept]
    value, slope = smooth_l1(iw * (box[kept] - targets[kept]), sigma2)
    if variant == "paper":
        # A weight of exactly 0 hides what it would multiply.
        value, slope = (np.where(iw * ow == 0, 0, a) for a in (value, slope))
    boxes = lambda1 * float(total(ow * value)) / divisor
    grads[1][kept] = lambda1 * ow * iw * slope / divisor

    sides = count = 0.0
    if side is not None:
        m = side_mask[kept]
        count = float(total(m))
        value, slope = smooth_l1(side[kept] - side_targets[kept], sigma2)
        sides = lambda2 * float(total(m * value)) / max(count, 1)
        grads[2][kept] = lambda2 * m * slope / max(count, 1)
    parts = {
        "loss": classes + boxes + sides,
        "model_loss": classes + boxes,
        "rpn_cross_entropy": classes,
        "rpn_loss_box": boxes,
        "rpn_loss_side": sides,
        "kept": float(n),
        "positives": float(positives),
        "sides": count,
    }
    return parts, tuple(g for g in grads if g is not None)


# ---------------------------------------------------------------- the targets


def base_anchors(heights=HEIGHTS, width=16.0, stride=16):
    """A x (x1, y1, x2, y2), cut to whole numbers towards zero as an assignment to int32 does."""
    centre = (stride - 1) / 2
    return np.array([[centre - width / 2, centre - h / 2, centre + width / 2, centre + h / 2] for h in heights]).astype(
        np.int32
    )


def all_anchors(rows, columns, **shape):
    base = base_anchors(**shape)
    stride = shape.get("stride", 16)
    return np.array(
        [
            anchor + [stride * w, stride * h, stride * w, stride * h]
            for h in range(rows)
            for w in range(columns)
            for anchor in base
        ],
        np.float64,
    ).reshape(-1, 4)


def overlaps(anchors, boxes):
    """n x k intersections over unions, whole pixels counted."""
    a, b = anchors[:, None], boxes[None]
    w = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + 1
    h = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + 1
    with np.errstate(all="ignore"):
        area_a, area_b = ((x[..., 2] - x[..., 0] + 1) * (x[..., 3] - x[..., 1] + 1) for x in (a, b))
        return np.where((w > 0) & (h > 0), w * h / (area_a + area_b - w * h), 0.0)


def offsets(anchors, boxes):
    with np.errstate(all="ignore"):  # coordinates near the largest number, and boxes of no extent
        aw, ah, bw, bh = (x[:, i + 2] - x[:, i] + 1 for x in (anchors, boxes) for i in (0, 1))
        ax, ay, bx, by = (
            x[:, i] + 0.5 * extent
            for x, i, extent in ((anchors, 0, aw), (anchors, 1, ah), (boxes, 0, bw), (boxes, 1, bh))
        )
        return np.stack([(bx - ax) / aw, (by - ay) / ah, np.log(bw / aw), np.log(bh / ah)], axis=1)


def anchor_targets(
    boxes,
    image_size,
    feature_size,
    *,
    seed=None,
    variant="published",
    line_boxes=None,
    stride=16,
    heights=HEIGHTS,
    width=16.0,
    negative_overlap=0.3,
    positive_overlap=0.7,
    batch_size=300,
    fg_fraction=0.5,
    clobber_positives=False,
    inside_weights=None,
    positive_weight=-1.0,
    side_distance=32.0,
):
    """The six arrays in segloss's order. `seed`: None, or anything with numpy's legacy `choice` (np.random)."""
    rows, columns = feature_size
    shape = (1, rows, columns, len(heights))
    boxes = np.asarray(boxes, np.float64)[:, :4]
    lines = boxes if line_boxes is None else np.asarray(line_boxes, np.float64)[:, :4]
    if inside_weights is None:
        inside_weights = {"published": (1, 1, 1, 1), "paper": (0, 1, 0, 1)}[variant]

    everything = all_anchors(rows, columns, heights=heights, width=width, stride=stride)
    x1, y1, x2, y2 = everything.T
    inside = np.flatnonzero((x1 >= 0) & (y1 >= 0) & (x2 < image_size[1]) & (y2 < image_size[0]))
    anchors = everything[inside]
    labels = np.full(len(anchors), -1)
    targets = np.zeros((len(anchors), 4))
    if len(boxes) == 0:
        labels[:] = 0
    elif len(anchors):
        iou = overlaps(anchors, boxes)
        best, most = iou.argmax(axis=1), iou.max(axis=1)
        largest = iou.max(axis=0)
        if not clobber_positives:
            labels[most < negative_overlap] = 0
        flagged = iou == largest
        if variant == "paper":
            flagged &= largest > 0
        labels[flagged.any(axis=1)] = 1
        labels[most >= positive_overlap] = 1
        if clobber_positives:
            labels[most < negative_overlap] = 0
        targets = offsets(anchors, boxes[best])

    def thin(label, limit):
        found = np.flatnonzero(labels == label)
        if len(found) > limit:
            excess = len(found) - limit
            drop = found[limit:] if seed is None else seed.choice(found, size=excess, replace=False)
            labels[drop] = -1

    thin(1, int(fg_fraction * batch_size))
    thin(0, batch_size - (labels == 1).sum())

    text = labels == 1
    iw, ow = np.zeros((2, len(anchors), 4))
    iw[text] = inside_weights
    f, b = text.sum(), (labels == 0).sum()
    with np.errstate(all="ignore"):
        if positive_weight < 0:
            ow[text] = 1
        elif variant == "published":
            ow[text], ow[labels == 0] = positive_weight / f + 1, (1 - positive_weight) / b + 1
        else:
            ow[text], ow[labels == 0] = positive_weight / (f + 1), (1 - positive_weight) / (b + 1)

    side_targets, side_mask = np.zeros((2, len(anchors)))
    for i in np.flatnonzero(text):
        iou = overlaps(anchors[i : i + 1], lines)[0] if len(lines) else np.zeros(1)
        if iou.max() > 0:
            line = lines[iou.argmax()]
            w = anchors[i, 2] - anchors[i, 0] + 1
            centre = anchors[i, 0] + 0.5 * w
            end = min(line[0] - centre, line[2] - centre, key=abs)
            if abs(end) <= side_distance:
                side_mask[i], side_targets[i] = 1, end / w

    def unmap(values, fill, dtype, numbers):
        out = np.full((len(everything), *values.shape[1:]), fill, dtype)
        with np.errstate(over="ignore"):
            out[inside] = values.astype(dtype)
        return out.reshape(*shape[:3], shape[3] * numbers)

    return (
        unmap(labels, -1, np.int32, 1),
        *(unmap(a, 0, np.float32, 4) for a in (targets, iw, ow)),
        *(unmap(a, 0, np.float32, 1) for a in (side_targets, side_mask)),
    )
