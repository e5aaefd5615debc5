"""The losses that look at a pixel's neighbours, in float64, written the slow and obvious way. See `reference.py`."""

import numpy as np
from reference import bce_logits, sigmoid, total, wide


def planes(a):
    """N x H x W is one channel."""
    return a[:, None] if a.ndim == 3 else a


# ---------------------------------------------------------------- structure


def box_mean(y, size, count_include_pad=True):
    """The mean over a size x size window of each pixel, zeros outside; or over the part of it inside the image."""
    reach = size // 2
    h, w = y.shape[-2:]
    padded = np.pad(y, [(0, 0)] * (y.ndim - 2) + [(reach, reach)] * 2)
    rows = sum(padded[..., i : i + h, :] for i in range(size))
    window = sum(rows[..., :, j : j + w] for j in range(size))
    if count_include_pad:
        return window / size**2
    return window / box_mean(np.ones_like(y), size) / size**2


def structure_weights(y, kernel_size=31, gain=5.0, count_include_pad=True):
    return 1 + gain * np.abs(box_mean(y, kernel_size, count_include_pad) - y)


def structure(
    x,
    y,
    *,
    variant="published",
    kernel_size=31,
    gain=5.0,
    smooth=1.0,
    count_include_pad=True,
    upstream=None,
):
    """(parts, gradient, value of each plane); `upstream` multiplies each plane's gradient, 1/(N C) unless given."""
    shape = np.shape(x)
    x, y = planes(wide(x)), planes(wide(y))
    n, c = x.shape[:2]
    weights = structure_weights(y, kernel_size, gain, count_include_pad)
    upstream = np.full((n, c), 1 / max(n * c, 1)) if upstream is None else upstream
    losses, slopes = bce_logits(x, y)
    p, q = sigmoid(x), sigmoid(-x)
    bce, iou, grad = np.zeros((n, c)), np.zeros((n, c)), np.zeros_like(x)
    for at in np.ndindex(n, c):
        w_, y_, p_, q_ = weights[at], y[at], p[at], q[at]
        mass = total(w_)
        if variant == "published":
            bce[at] = total(losses) / x.size
            grad += upstream[at] * slopes / x.size
        else:
            bce[at] = total(w_ * losses[at]) / mass
            grad[at] += upstream[at] * w_ * slopes[at] / mass
        if variant == "uacanet":
            inter, union = p_ * y_ + smooth, p_ + y_ - p_ * y_ + smooth
            iou[at] = total(w_ * (1 - inter / union)) / mass
            slope = -(y_ * union - inter * (1 - y_)) / union**2 / mass
        else:
            inter = total(w_ * p_ * y_) + smooth
            union = total(w_ * (p_ + y_ - p_ * y_)) + smooth
            iou[at] = total(w_ * (p_ + y_ - 2 * p_ * y_)) / union  # 1 - inter/union, with its digits
            slope = -(y_ * union - inter * (1 - y_)) / union**2
        grad[at] += upstream[at] * w_ * slope * p_ * q_
    parts = {"bce_loss": float(bce.mean()), "iou_loss": float(iou.mean())}
    return {"loss": sum(parts.values()), **parts}, grad.reshape(shape), bce + iou


# ---------------------------------------------------------------- active contour


def active_contour(
    x, y, *, weight=10.0, variant="published", c_in=1.0, c_out=0.0, region_weight=1.0, from_logits=False
):
    """(parts, gradient): every difference gives to the two pixels that it is between."""
    shape = np.shape(x)
    x, y = planes(wide(x)), planes(wide(y))
    p = sigmoid(x) if from_logits else x
    q = sigmoid(-x) if from_logits else 1 - x
    far = 2 if variant == "published" else 1
    h, w = p.shape[-2] - far, p.shape[-1] - far
    grad = region_weight * ((y - c_in) ** 2 - (y - c_out) ** 2) / max(p.size, 1)
    region = float(total(p * (y - c_in) ** 2 + q * (y - c_out) ** 2) / max(p.size, 1))
    length = 0.0
    if h > 0 and w > 0:
        ends = [
            np.s_[..., far : far + h, :w],
            np.s_[..., far - 1 : far - 1 + h, :w],
            np.s_[..., :h, far : far + w],
            np.s_[..., :h, far - 1 : far - 1 + w],
        ]
        if from_logits:
            # s(x) - s(x') = s(x) s(-x') (1 - e^(x' - x)) for x >= x': it has digits where the two are nearly equal.
            def between(to, at):
                rise = -np.expm1(-np.abs(x[to] - x[at]))
                return np.where(x[to] < x[at], -p[at] * q[to], p[to] * q[at]) * rise
        else:

            def between(to, at):
                return p[to] - p[at]

        a, b = between(ends[0], ends[1]), between(ends[2], ends[3])
        root = np.sqrt(a**2 + b**2 + 1e-8)
        length = float(total(root) / root.size)
        for at, slope in zip(ends, (a, -a, b, -b)):
            grad[at] += weight * slope / root / root.size
    if from_logits:
        grad = grad * p * q
    return {"loss": weight * length + region_weight * region, "length": length, "region": region}, grad.reshape(shape)
