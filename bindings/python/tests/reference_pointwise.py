"""The losses of single elements, and cross-entropy over classes, in float64, written the slow and obvious way.

`test_reference_pointwise.py` holds all of it against torch's own functions, finite differences and the printed golden
vectors.

x logit, p probability, y target, m mask. Arguments and options are the classes' own. A loss returns
`(parts, gradient)`; with reduction "none" the loss among the parts is the map.
"""

import numpy as np
from reference import bce as probability_bce
from reference import sigmoid, total, wide
from reference_overlap import holds_labels, one_hot, spread


def reduced(term, slope, factor, mask, reduction, grad_output, **parts):
    """Terms times their factors, summed, over the sum of the mask, or left alone; where the mask is 0 throughout there
    is nothing to take a mean of: 0."""
    mass = total(mask)
    divisor = mass if reduction == "mean" else 1.0
    parts = {"count": float(mass), **parts}
    if divisor == 0:
        return {"loss": 0.0, **parts}, np.zeros(term.shape)
    grad = wide(grad_output) * slope * factor / divisor
    loss = term * factor if reduction == "none" else float(total(term * factor) / divisor)
    return {"loss": loss, **parts}, grad.astype(np.float64)


def along_classes(numbers, shape):
    """A number, or one for each class, for every element."""
    numbers = wide(numbers)
    return np.broadcast_to(numbers if numbers.ndim == 0 else numbers.reshape(1, -1, *[1] * (len(shape) - 2)), shape)


def prepare(input, target, weight, mask, class_weight=None, ignore_index=None):
    """(x, y, factor, m) of the prediction's shape. What is ignored is not read: there all of them are 0."""
    x, target = wide(input), np.asarray(target)
    if x.ndim > 1 and holds_labels(target, x.shape):
        labels = target.reshape(x.shape[0], *x.shape[2:])
        y, ignored = one_hot(labels, x.shape[1]), spread(labels == ignore_index, x.shape) == 1
    else:
        y = spread(target, x.shape)
        ignored = y == ignore_index
    m = np.ones(x.shape) if mask is None else spread(mask, x.shape)
    factor = m * (1 if weight is None else spread(weight, x.shape))
    factor = factor * (1 if class_weight is None else along_classes(class_weight, x.shape))
    return (np.where(ignored, 0, a) for a in (x, y, factor, m))


# ---------------------------------------------------------------- binary cross-entropy


def cross_entropies(x, y, from_logits, flavour="torch", pos_weight=None):
    """The map and its derivative, from logits (nothing saturates) or from probabilities (the frameworks' clamps)."""
    if not from_logits:
        return probability_bce(x, y, flavour)
    w = 1.0 if pos_weight is None else along_classes(pos_weight, x.shape)
    softplus = np.log1p(np.exp(-np.abs(x)))  # of -|x|
    loss = (1 - y) * (np.maximum(x, 0) + softplus) + w * y * (np.maximum(-x, 0) + softplus)
    return loss, (1 - y) * sigmoid(x) - w * y * sigmoid(-x)


def bce(
    input,
    target,
    weight=None,
    mask=None,
    *,
    from_logits=True,
    flavour="torch",
    pos_weight=None,
    class_weight=None,
    ignore_index=None,
    reduction="mean",
    grad_output=1.0,
):
    x, y, factor, m = prepare(input, target, weight, mask, class_weight, ignore_index)
    return reduced(*cross_entropies(x, y, from_logits, flavour, pos_weight), factor, m, reduction, grad_output)


# ---------------------------------------------------------------- focal


def focal(
    input,
    target,
    weight=None,
    mask=None,
    *,
    alpha=None,
    gamma=2.0,
    variant="published",
    from_logits=True,
    class_weight=None,
    ignore_index=None,
    reduction="mean",
    grad_output=1.0,
):
    x, y, factor, m = prepare(input, target, weight, mask, class_weight, ignore_index)
    if variant == "paper":
        term, slope = focal_terms(x, y, 0.25 if alpha is None else alpha, gamma, from_logits)
        return reduced(term, slope, factor, m, reduction, grad_output)

    parts, grad = reduced(*cross_entropies(x, y, from_logits), factor, m, "mean", 1.0)
    alpha, B = 0.8 if alpha is None else alpha, parts["loss"]
    easy = -np.expm1(-B)  # 1 - e^-B
    parts |= {"loss": float(alpha * easy**gamma * B), "bce_loss": B}
    rate = 0.0 if B == 0 else alpha * (easy**gamma + gamma * easy ** (gamma - 1) * np.exp(-B) * B)
    return parts, float(grad_output) * rate * grad


def focal_terms(x, y, alpha, gamma, from_logits):
    """alpha_t (1 - p_t)^gamma CE for each element; a negative alpha means none."""
    p, q = (sigmoid(x), sigmoid(-x)) if from_logits else (x, 1 - x)
    ce, slope = cross_entropies(x, y, from_logits)
    balance = alpha * y + (1 - alpha) * (1 - y) if alpha >= 0 else 1.0
    wrong = p * (1 - y) + q * y  # 1 - p_t
    moves = (1 - 2 * y) * (p * q if from_logits else 1.0)  # its derivative
    # Where nothing is wrong the cross-entropy is 0 as well, and outdoes any power of 1 - p_t below it.
    safe = np.where(wrong == 0, 1, wrong)
    bend = np.where(wrong == 0, 0, gamma * safe ** (gamma - 1) * moves * ce)
    return balance * wrong**gamma * ce, balance * (wrong**gamma * slope + bend)


# ---------------------------------------------------------------- smooth L1


def smooth_l1(input, target, weight=None, mask=None, *, beta=1.0, sigma2=None, reduction="mean", grad_output=1.0):
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2."""
    x, y, factor, m = prepare(input, target, weight, mask)
    beta = beta if sigma2 is None else 1 / sigma2
    d = x - y
    near = np.abs(d) < beta
    divisor = beta if beta else 1.0
    return reduced(
        np.where(near, d * d / (2 * divisor), np.abs(d) - beta / 2),
        np.where(near, d / divisor, np.sign(d)),
        factor,
        m,
        reduction,
        grad_output,
    )


# ---------------------------------------------------------------- cross-entropy over classes


def cross_entropy(
    input,
    target,
    weight=None,
    mask=None,
    *,
    class_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    reduction="mean",
    grad_output=1.0,
):
    """torch's; its `weight` is `class_weight` here, and `weight` one for each pixel."""
    x, target = wide(input), np.asarray(target)
    N, C, *S = x.shape
    w = np.ones(C) if class_weight is None else wide(class_weight)
    positions = (N, *S)
    m = np.ones(positions) if mask is None else wide(mask).reshape(positions)
    factor = np.ones(positions) if weight is None else wide(weight).reshape(positions)

    if holds_labels(target, x.shape) or target.shape != x.shape:
        labels = target.reshape(positions)
        ignored = labels == ignore_index
        y = np.where(ignored[:, None], 0, one_hot(labels, C))
        x = np.where(ignored[:, None], 0, x)
        m, factor = np.where(ignored, 0, m), np.where(ignored, 0, factor)
        of_label = sum((w[c] * y[:, c] for c in range(C)), np.zeros(positions))
        divisor = total(of_label * m)
        # The label's share, and what smoothing spreads over all classes with the weight of each.
        smooth = np.where(ignored, 0, label_smoothing / C)
        coefficient = np.stack([(1 - label_smoothing) * w[c] * y[:, c] + smooth * w[c] for c in range(C)], axis=1)
    else:
        y = wide(target)
        divisor = total(m)
        coefficient = np.stack(
            [w[c] * ((1 - label_smoothing) * y[:, c] + label_smoothing / C) for c in range(C)], axis=1
        )

    # log of the sum over the largest: of 1 and the others, which keep their digits apart from it.
    winner = np.arange(C).reshape(1, C, *[1] * len(S)) == x.argmax(axis=1)[:, None]
    highest = x.max(axis=1, keepdims=True)
    others = np.where(winner, 0, np.exp(x - highest)).sum(axis=1, keepdims=True)
    log_p, p = x - highest - np.log1p(others), np.exp(x - highest) / (1 + others)
    term = np.zeros(positions)
    for c in range(C):  # a class that is ruled out, and has no share in the target, costs nothing
        term = term - coefficient[:, c] * np.where(coefficient[:, c] == 0, 0, log_p[:, c])
    # d/dx_c of -a_k log p_k is a_k (p_c - [c = k]).
    slope = np.zeros(x.shape)
    for c in range(C):
        others = [k for k in range(C) if k != c]
        q = sum((p[:, k] for k in others), np.zeros(positions))
        slope[:, c] = p[:, c] * sum((coefficient[:, k] for k in others), np.zeros(positions)) - q * coefficient[:, c]

    scale = wide(factor * m / (1 if reduction != "mean" else divisor if divisor else np.inf))
    upstream = np.broadcast_to(wide(grad_output), positions)
    loss = term * scale if reduction == "none" else float(total(term * scale))
    parts = {"loss": loss, "count": float(total(m)), "divisor": float(divisor) if reduction == "mean" else 1.0}
    return parts, slope * (upstream * scale)[:, None]
