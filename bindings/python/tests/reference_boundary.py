"""The boundary loss in float64, written as the formula is: windows are shifted copies of the image, compared one after the
other in row-major order.

A number v in [0, 1] is a triple (order, v, 1 - v), so that the largest is found and the differences are taken with all their
digits however near to 0 or 1 it is.
"""

import numpy as np

ETA = 1e-7


def shifted(a, dy, dx, outside):
    """a[y + dy, x + dx], `outside` where that is not in the image."""
    h, w = a.shape[-2:]
    out = np.full_like(a, outside)
    if abs(dy) < h and abs(dx) < w:
        out[..., max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)] = a[
            ..., max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)
        ]
    return out


def largest(order, exists, size):
    """For each pixel the row and column of the first largest `order` in its window."""
    h, w = order.shape[-2:]
    rows, columns = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    best = np.full(order.shape, -np.inf)
    found = np.zeros(order.shape, bool)
    at = [np.broadcast_to(a, order.shape).copy() for a in (rows, columns)]
    ry, rx = min(size // 2, h - 1), min(size // 2, w - 1)
    for dy in range(-ry, ry + 1):
        for dx in range(-rx, rx + 1):
            value = shifted(order, dy, dx, -np.inf)
            here = shifted(exists, dy, dx, False)
            better = here & (~found | (value > best))
            best = np.where(better, value, best)
            at[0] = np.where(better, rows + dy, at[0])
            at[1] = np.where(better, columns + dx, at[1])
            found |= here
    return at


def take(a, at):
    """a at rows and columns, plane by plane."""
    n, c = a.shape[:2]
    return a[np.arange(n)[:, None, None, None], np.arange(c)[None, :, None, None], at[0], at[1]]


def scatter(g, at):
    """The way back of `take`."""
    n, c = g.shape[:2]
    out = np.zeros_like(g)
    index = (np.arange(n)[:, None, None, None], np.arange(c)[None, :, None, None], at[0], at[1])
    np.add.at(out, tuple(np.broadcast_to(i, g.shape) for i in index), g)
    return out


def probabilities(x, from_probs):
    """(order of 1 - p, p, 1 - p), with log-odds for the order."""
    if from_probs:
        return -x, x, 1 - x
    e = np.exp(x - x.max(axis=1, keepdims=True))
    others = np.stack([np.delete(e, c, axis=1).sum(axis=1) for c in range(x.shape[1])], axis=1)
    with np.errstate(divide="ignore"):
        order = np.log(others) - (x - x.max(axis=1, keepdims=True))
    total = e.sum(axis=1, keepdims=True)
    return order, e / total, others / total


def boundary(
    x,
    labels,
    theta0=3,
    theta=5,
    *,
    variant="published",
    ignore_index=None,
    from_probs=False,
    factors=None,
):
    """(loss, count), 1 - F of each image and class, and the gradient; with `factors` that of sum(factors * items)."""
    x = np.asarray(x, np.float64)
    n, c, h, w = x.shape
    labels = np.asarray(labels).astype(np.int64).reshape(n, *np.shape(labels)[-2:])
    top, left = (labels.shape[1] - h) // 2, (labels.shape[2] - w) // 2
    labels = labels[:, top : top + h, left : left + w]
    valid = np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    exists = np.broadcast_to(valid[:, None], x.shape)
    order, p, v = probabilities(np.where(exists, x, 0), from_probs)

    truth = (labels[:, None] == np.arange(c)[None, :, None, None]) & exists
    u = np.where(truth, 0.0, 1.0)
    g = (take(u, largest(u, exists, theta0)) - u) * exists
    g_near = take(g, largest(g, exists, theta)) * exists

    at0 = largest(order, exists, theta0)
    v0, p0 = take(v, at0), take(p, at0)
    # Not below 0 where rounding parts equal ones.
    b = np.maximum(p - p0 if from_probs else v0 * p - p0 * v, 0) * exists
    rest = np.where(exists, 1 - b if from_probs else p0 + v, 1.0)
    with np.errstate(divide="ignore"):
        at1 = largest(np.log(b) - np.log(rest), exists, theta)
    b_near, rest_near = take(b, at1), take(rest, at1)

    def total(a):
        return np.sum(a, axis=(2, 3), dtype=np.longdouble)

    edges, edge_truth = total(b) + ETA, total(g) + ETA
    P, not_P = total(b * g_near) / edges, (total(b * (1 - g_near)) + ETA) / edges
    R, not_R = total(b_near * g) / edge_truth, (total(rest_near * g) + ETA) / edge_truth
    Z = P + R + ETA
    items = (P * not_R + R * not_P + ETA) / Z
    counted = total(g) > 0 if variant == "present_classes" else np.ones((n, c), bool)
    items = np.where(counted, items, 0).astype(np.float64)
    count = counted.sum()
    loss = items.sum() / max(count, 1)

    factors = counted / max(count, 1) if factors is None else counted * np.broadcast_to(factors, (n, c))
    dP = factors * -2 * R * (R + ETA) / Z**2
    dR = factors * -2 * P * (P + ETA) / Z**2

    def planes(a):
        return np.asarray(a, np.float64)[:, :, None, None]

    db = planes(dP * not_P / edges) * g_near - planes(dP * P / edges) * (1 - g_near)
    db = (db + scatter(planes(dR / edge_truth) * g, at1)) * exists
    # Where v's largest is its own centre the two halves cancel.
    rows, columns = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    db[(at0[0] == rows) & (at0[1] == columns)] = 0
    dp = db - scatter(db, at0)
    if from_probs:
        return (float(loss), float(count)), items, dp * exists
    dx = np.zeros_like(x)
    for k in range(c):
        others = np.delete(np.arange(c), k)
        dx[:, k] = p[:, k] * (v[:, k] * dp[:, k] - (p[:, others] * dp[:, others]).sum(axis=1))
    return (float(loss), float(count)), items, dx * exists
