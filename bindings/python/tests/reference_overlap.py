"""The overlap losses in float64, written the slow and obvious way: one-hot targets, a loop over the items, every
gradient derived by hand.

`test_reference_overlap.py` holds all of it against torch's autograd, finite differences and the printed golden vectors.

p prediction after its activation, q = 1 - p with its own digits, y target, m mask; TP, FP and FN are the sums of p y,
p (1 - y) and q y under the mask. Arguments and options are the classes' own. A loss returns `(parts, gradient)`; with
reduction "none" the loss among the parts is the array of items.
"""

import numpy as np
from reference import sigmoid, total, wide

# ---------------------------------------------------------------- arguments


def spread(a, shape):
    """A mask, weight or binary target of the prediction's shape, or one that stands for all classes."""
    a = wide(a)
    if a.shape != shape and a.ndim == len(shape) - 1:
        a = a[:, None]
    return np.broadcast_to(a, shape)


def holds_labels(target, shape):
    """Whether the target names a class at each position, rather than a number for each class."""
    return np.shape(target) != shape and shape[1] > 1


def one_hot(labels, classes):
    """N x C x positions from N x positions or N x 1 x positions, or what is dense already."""
    return np.stack([wide(labels == c) for c in range(classes)], axis=1)


def prepare(input, target, mask, ignore_index, activation):
    """(x, y, m), all of the prediction's shape. What is ignored is not read: there x and y are 0, and so is m. (A
    softmax reads a position unless all of it is ignored.)"""
    x, target = wide(input), np.asarray(target)
    if holds_labels(target, x.shape):
        labels = target.reshape(x.shape[0], *x.shape[2:])
        y, ignored = one_hot(labels, x.shape[1]), spread(labels == ignore_index, x.shape) == 1
    else:
        y = spread(target, x.shape)
        ignored = y == ignore_index
    m = np.ones(x.shape) if mask is None else spread(mask, x.shape)
    unread = np.broadcast_to(ignored.all(axis=1, keepdims=True), x.shape) if activation == "softmax" else ignored
    return np.where(unread, 0, x), np.where(ignored, 0, y), np.where(ignored, 0, m)


# ---------------------------------------------------------------- activations


def activate(x, activation):
    """(p, q, pull): `pull` takes a gradient with respect to p back to one with respect to x."""
    if activation == "none":
        return x, 1 - x, lambda dp: dp
    if activation == "sigmoid":
        p, q = sigmoid(x), sigmoid(-x)
        return p, q, lambda dp: dp * (p * q)
    classes = range(x.shape[1])
    e = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    every = e.sum(axis=1, keepdims=True)
    p = e / every
    q = np.stack([sum(e[:, k] for k in classes if k != c) + 0 * e[:, c] for c in classes], axis=1) / every

    def pull(dp):
        # p_c (dp_c - sum_k p_k dp_k), with the difference taken before anything is multiplied.
        return np.stack([p[:, c] * sum(p[:, k] * (dp[:, c] - dp[:, k]) for k in classes) for c in classes], axis=1)

    return p, q, pull


# ---------------------------------------------------------------- one item


def ratio(p, q, y, m, tp, alpha, beta, smooth):
    """(alpha FP + beta FN) / (tp TP + alpha FP + beta FN + smooth) and its gradient; 0/0 is 0, with no gradient."""
    hit = tp * total(p * y * m)
    miss = alpha * total(p * (1 - y) * m) + beta * total(q * y * m)
    whole = hit + miss + smooth
    if whole == 0:
        return 0.0, np.zeros(p.shape)
    grad = m * ((alpha * (1 - y) - beta * y) * (hit + smooth) - tp * y * miss) / whole**2
    return float(miss / whole), grad.astype(np.float64)


def power(value, grad, gamma):
    """value**gamma; at 0 a root has no slope that anyone could use: 0."""
    if gamma == 1:
        return value, grad
    slope = gamma * value ** (gamma - 1) if value != 0 else 0.0
    return value**gamma, slope * grad


# ---------------------------------------------------------------- all items


def overlap(
    input,
    target,
    mask=None,
    *,
    score,
    cross_entropy=False,
    from_logits=True,
    activation="sigmoid",
    average="micro",
    per_sample=False,
    classes=None,
    absent="count",
    class_weight=None,
    ignore_index=None,
    reduction="mean",
    grad_output=1.0,
):
    """`score` gives value and gradient of one item from its p, q, y and m."""
    shape = np.shape(input)
    if len(shape) < 2:  # any shape will do where nothing tells samples and classes apart
        input, target = np.reshape(input, (1, 1, -1)), np.reshape(target, (1, 1, -1))
        mask = None if mask is None else np.reshape(mask, (1, 1, -1))
    activation = activation if from_logits else "none"
    x, y, m = prepare(input, target, mask, ignore_index, activation)
    p, q, pull = activate(x, activation)
    N, C = x.shape[:2]

    rows = [[n] for n in range(N)] if per_sample else [list(range(N))]
    taking_part = list(range(C)) if classes is None else list(classes)
    columns = [[c] for c in taking_part] if average == "macro" else [taking_part]
    w = np.ones(C) if class_weight is None else wide(class_weight)
    weighted = m * w.reshape(1, C, *[1] * (x.ndim - 2)) if average == "micro" else m

    items, terms, elements, slopes, term_slopes, counted = [], [], [], [], [], []
    for r in rows:
        for c in columns:
            at = np.ix_(r, c)
            weight = float(w[c[0]]) if average == "macro" else 1.0
            value, grad = score(p[at], q[at], y[at], weighted[at])
            missing = total(y[at] * weighted[at]) == 0 and absent != "count"
            items.append(0.0 if missing else weight * value)
            slopes.append((at, 0.0 if missing else weight * grad))
            counted.append(not (missing and absent == "skip"))
            if cross_entropy:
                mass = total(m[at])
                loss, slope = entropy(x[at], p[at], q[at], y[at], activation)
                terms.append(0.0 if mass == 0 else weight * float(total(loss * weighted[at]) / mass))
                term_slopes.append(
                    (at, 0.0 if mass == 0 else (weight * slope * weighted[at] / mass).astype(np.float64))
                )
                elements.append(float(mass))

    # What each item's gradient is multiplied by: the overlap's, and the cross-entropy's, from which no class is absent.
    count = sum(counted)
    upstream = np.broadcast_to(wide(grad_output).ravel(), len(items))
    share, term_share = (1 / max(count, 1), 1 / max(len(items), 1)) if reduction == "mean" else (1.0, 1.0)
    dp, dx = np.zeros(x.shape), np.zeros(x.shape)
    for i, (at, slope) in enumerate(slopes):
        dp[at] += upstream[i] * share * slope
    for i, (at, slope) in enumerate(term_slopes):
        dx[at] += upstream[i] * term_share * slope
    grad = (pull(dp) + dx).reshape(shape)

    parts = {"loss": sum(items) * share, "count": float(count)}
    if cross_entropy:
        parts |= {"dice_loss": parts["loss"], "bce_loss": sum(terms) * term_share, "elements": sum(elements)}
        parts["loss"] += parts["bce_loss"]
    if reduction == "none":
        array = np.array(items) + (np.array(terms) if cross_entropy else 0)
        axes = ([N] if per_sample else []) + ([len(columns)] if average == "macro" else [])
        parts["loss"] = array.reshape(axes)
    return parts, grad


def entropy(x, p, q, y, activation):
    """Binary cross-entropies and their derivatives: of logits, or of probabilities as torch has it."""
    if activation == "sigmoid":
        return (1 - y) * x + np.maximum(-x, 0) + np.log1p(np.exp(-np.abs(x))), (1 - y) * p - y * q
    if activation == "none":
        with np.errstate(divide="ignore"):
            log_p, log_q = np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)
        return -(y * log_p + (1 - y) * log_q), (p - y) / np.maximum(p * q, 1e-12)
    raise NotImplementedError(activation)


# ---------------------------------------------------------------- the losses


def dice(input, target, mask=None, *, smooth=1.0, **options):
    """1 - (2 I + s) / (sum p + sum y + s), as what is missed over the whole."""
    return overlap(input, target, mask, score=lambda *item: ratio(*item, 2, 1, 1, smooth), **options)


def iou(input, target, mask=None, *, smooth=1.0, **options):
    """1 - (I + s) / (sum p + sum y - I + s)."""
    return overlap(input, target, mask, score=lambda *item: ratio(*item, 1, 1, 1, smooth), **options)


def tversky(input, target, mask=None, *, alpha=0.5, beta=0.5, smooth=1.0, **options):
    """1 - (TP + s) / (TP + alpha FP + beta FN + s)."""
    return overlap(input, target, mask, score=lambda *item: ratio(*item, 1, alpha, beta, smooth), **options)


def focal_tversky(input, target, mask=None, *, alpha=0.5, beta=0.5, gamma=1.0, smooth=1.0, **options):
    """Tversky to the power of gamma, item by item."""
    score = lambda *item: power(*ratio(*item, 1, alpha, beta, smooth), gamma)  # noqa: E731
    return overlap(input, target, mask, score=score, **options)


def dice_bce(input, target, mask=None, *, smooth=1.0, **options):
    """Dice and the mean of the binary cross-entropies, one to one."""
    score = lambda *item: ratio(*item, 2, 1, 1, smooth)  # noqa: E731
    return overlap(input, target, mask, score=score, cross_entropy=True, **options)
