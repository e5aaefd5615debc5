"""The losses of the DB family in float64, written the slow and obvious way.

Nothing here knows how segloss computes anything. Arrays are widened to float64, the K largest are found by a full
stable sort, and every gradient is derived by hand; `test_reference.py` holds all of it against finite differences,
torch's autograd and the printed golden vectors.

Names follow the specification: p prediction, g label, m mask, t threshold map, `ts` its target, `P` and `K` the counts
of positives and of mined negatives. A loss returns `(value, gradient)`; the composed ones return `(parts, gradients)`
with the total under "loss".
"""

import math

import numpy as np


def wide(*arrays):
    """The arrays in float64, whatever they are stored in."""
    out = [None if a is None else np.asarray(a).astype(np.float64) for a in arrays]
    return out[0] if len(out) == 1 else out


def total(terms):
    """A sum that adds no error of its own worth speaking of: 80-bit where the machine has it. Infinities and NaN go
    through."""
    return np.sum(terms, dtype=np.longdouble)


# ---------------------------------------------------------------- terms


def mask_dice(p, g, m, weights=None, eps=1e-6):
    """1 - 2I/U, with I = sum(p g m) and U = sum(p m) + sum(g m) + eps, over everything at once."""
    p, g, m = wide(p, g, m)
    if weights is not None:
        m = m * wide(weights)
    inter = total(p * g * m)
    union = total(p * m) + total(g * m) + eps
    value = 1 - 2 * inter / union
    grad = -2 * m * (g * union - inter) / union**2
    return float(value), grad.astype(np.float64)


def mask_l1(t, ts, m, eps=1e-6):
    """sum(|t - ts| m) / (sum(m) + eps)."""
    t, ts, m = wide(t, ts, m)
    mass = total(m) + eps
    return float(total(np.abs(t - ts) * m) / mass), (m * np.sign(t - ts) / mass).astype(np.float64)


def mask_l1_guarded(t, ts, m):
    """MhLiao's: no eps, and 0 with no gradient where the mask sums to exactly 0."""
    if total(wide(m)) == 0:
        return 0.0, np.zeros(np.shape(t))
    return mask_l1(t, ts, m, eps=0.0)


def bce(p, y, flavour):
    """The map of binary cross-entropies on probabilities: logarithms stop at -100, the derivative's denominator at
    1e-12."""
    p, y = wide(p, y)
    with np.errstate(divide="ignore"):
        log_p = np.maximum(np.log(p), -100)
        log_q = np.maximum({"torch": np.log1p(-p), "paddle": np.log(1 - p)}[flavour], -100)
    return -(y * log_p + (1 - y) * log_q), (p - y) / np.maximum((1 - p) * p, 1e-12)


def bce_logits(u, y):
    """The same from logits: (1 - y) u - log(sigmoid(u)); no clamp, because nothing saturates."""
    log_sigmoid = np.minimum(u, 0) - np.log1p(np.exp(-np.abs(u)))
    return (1 - y) * u - log_sigmoid, sigmoid(u) - y


def sigmoid(u):
    e = np.exp(-np.abs(u))
    return np.where(u >= 0, 1, e) / (1 + e)


def db_step(p, t, k=50.0):
    """sigmoid(k (p - t)) and its derivative with respect to p; that with respect to t is the negative."""
    p, t = wide(p, t)
    u = k * (p - t)
    return sigmoid(u), k * sigmoid(u) * sigmoid(-u)


# ---------------------------------------------------------------- selection


def top_k(v, k):
    """Which elements are the k largest: NaN before everything, and the lowest index first among equals."""
    v = np.asarray(v).ravel()
    nan, rest = np.flatnonzero(np.isnan(v)), np.flatnonzero(~np.isnan(v))
    order = np.concatenate([nan, rest[np.argsort(-v[rest], kind="stable")]])
    chosen = np.zeros(v.size, bool)
    chosen[order[:k]] = True
    return chosen


def gap(v, k):
    """Relative distance between the k-th largest and the next one: infinite where nothing has to be chosen."""
    v = np.sort(np.asarray(v).ravel())[::-1]
    return (v[k - 1] - v[k]) / max(abs(v[k - 1]), 1e-30) if 0 < k < v.size else math.inf


def truncated_u8(v):
    """A float as an unsigned byte: toward zero, held inside 0..255, NaN as 0."""
    return np.clip(np.trunc(np.nan_to_num(v, nan=0.0, posinf=255, neginf=0)), 0, 255)


def weights_of(g, m, truncate=False):
    """How much each pixel counts as a positive and as a negative."""
    g, m = wide(g, m)
    pos, neg = g * m, (1 - g) * m
    return (truncated_u8(pos), truncated_u8(neg)) if truncate else (pos, neg)


def counts(pos, neg, ratio, fallback=0):
    """P and K. `min` is Python's, which keeps its first argument unless the second is smaller; `int` raises for NaN."""
    positives = int(total(pos))
    negatives = int(min(float(total(neg)), positives * ratio))
    if positives == 0 and fallback:
        negatives = min(int(total(neg)), fallback)
    return positives, negatives


def mined(pos, neg, ratio, loss, slope, eps=1e-6, fallback=0):
    """(sum(pos loss) + sum of the K largest neg loss) / (P + K + eps), and its gradient; `loss` a map, or one number
    for all."""
    P, K = counts(pos, neg, ratio, fallback)
    weight, divisor = pos, P + eps
    if K > 0:
        weight, divisor = pos + neg * top_k(neg * loss, K).reshape(neg.shape), P + K + eps
    factor = weight if np.ndim(loss) else float(total(weight))
    return float(total(weight * loss) / divisor), factor * slope / divisor


# ---------------------------------------------------------------- BalanceLoss


def ohem_mask(p, g, m, ratio=3, clean=False):
    """PSENet's selection, image by image: the positives and the highest scoring negatives. Ties at the threshold all
    come in."""
    p, g, m = wide(p, g, m)
    out = np.empty(m.shape)
    for i in range(len(p)):
        text, valid = g[i] > 0.5, m[i] > 0.5
        pool = (g[i] <= 0.5) & (valid if clean else True)
        count = int(min(ratio * np.sum(text & valid), np.sum(pool)))
        out[i] = m[i]
        if count > 0:
            threshold = p[i][pool][top_k(p[i][pool], count)].min()
            out[i] = ((p[i] >= threshold) | text) & valid
    return out


def dice_ohem(p, g, m, ratio=3, clean=False, eps=1e-6):
    return mask_dice(p, g, ohem_mask(p, g, m, ratio, clean), eps=eps)


def balance_origin(p, g, m, main="DiceLoss", ratio=3, clean=False, eps=1e-6, flavour="paddle"):
    """What BalanceLoss balances: a number, or the map of cross-entropies."""
    if main == "BCELoss":
        return bce(p, g, flavour)
    if main == "DiceOHEM":
        return dice_ohem(p, g, m, ratio, clean, eps)
    return {"DiceLoss": mask_dice, "MaskL1Loss": mask_l1}[main](p, g, m, eps=eps)


def balance(p, g, m, main="DiceLoss", ratio=3, eps=1e-6, fallback=0, clean=False, flavour="paddle"):
    """PaddleOCR's BalanceLoss. A selection of its own makes DiceOHEM stand alone: nothing is mined a second time."""
    loss, slope = balance_origin(p, g, m, main, ratio, clean, eps, flavour)
    if main == "DiceOHEM":
        return loss, slope
    return mined(*weights_of(g, m), ratio, loss, slope, eps, fallback)


def balanced_ce(p, g, m, ratio=3.0, fallback=0):
    """MhLiao's and WenmuZhou's: weights through an unsigned byte, so that a soft label is neither positive nor
    negative."""
    return mined(*weights_of(g, m, truncate=True), ratio, *bce(p, g, "torch"), fallback=fallback)


# ---------------------------------------------------------------- composed losses


def db_loss(
    maps,
    ts,
    mt,
    g,
    m,
    *,
    variant="published",
    main="DiceLoss",
    balanced=True,
    alpha=None,
    beta=10,
    ratio=3,
    eps=1e-6,
    step_k=50.0,
    fallback=0,
):
    """(parts, gradient N x 3 x H x W); the parts carry their factors, so that they add up to the loss."""
    maps, ts, mt, g, m = wide(maps, ts, mt, g, m)
    alpha = {"published": 5, "wenmuzhou": 1, "paper": 1}[variant] if alpha is None else alpha
    grad = np.zeros_like(maps)
    p, t = maps[:, 0], maps[:, 1]

    if variant == "wenmuzhou" and maps.shape[1] == 2:
        value, grad[:, 0] = balanced_ce(p, g, m, ratio, fallback)
        return {"loss": value, "loss_shrink_maps": value}, grad

    on_shrink, on_binary = (1, alpha) if variant == "paper" else (alpha, 1)
    if variant == "published":
        # The constructor's eps never reaches the BalanceLoss that it builds.
        shrink, slope = balance(p, g, m, main, ratio, fallback=fallback) if balanced else balance_origin(p, g, m, main)
    elif variant == "wenmuzhou":
        shrink, slope = balanced_ce(p, g, m, ratio, fallback)
    else:
        shrink, slope = balance(p, g, m, "BCELoss", ratio, fallback=fallback, flavour="torch")
    grad[:, 0] += on_shrink * slope

    threshold, slope = mask_l1(t, ts, mt, eps)
    grad[:, 1] += beta * slope

    if variant != "paper":
        binary, slope = mask_dice(maps[:, 2], g, m, eps=eps)
        grad[:, 2] += slope
    elif step_k == 0:
        binary, slope = balance(maps[:, 2], g, m, "BCELoss", ratio, fallback=fallback, flavour="torch")
        grad[:, 2] += on_binary * slope
    else:
        binary, slope = mined(*weights_of(g, m), ratio, *bce_logits(step_k * (p - t), g), fallback=fallback)
        grad[:, 0] += on_binary * step_k * slope
        grad[:, 1] -= on_binary * step_k * slope

    parts = {
        "loss_shrink_maps": on_shrink * shrink,
        "loss_threshold_maps": beta * threshold,
        "loss_binary_maps": on_binary * binary,
    }
    return {"loss": sum(parts.values()), **parts}, grad


def l1_balance_ce(
    binary, thresh, thresh_binary, gt, mask, thresh_map, thresh_mask, *, eps=1e-6, l1_scale=10, bce_scale=5, ratio=3.0
):
    """MhLiao's, all maps N x H x W: (parts, one gradient per prediction). The parts are bare; the factors stand in the
    total."""
    ce, g_binary = balanced_ce(binary, gt, mask, ratio)
    if thresh is None:
        return {"loss": ce, "bce_loss": ce}, (g_binary, None, None)
    l1, g_thresh = mask_l1_guarded(thresh, thresh_map, thresh_mask)
    dice, g_dice = mask_dice(thresh_binary, gt, mask, eps=eps)
    parts = {"loss": dice + l1_scale * l1 + bce_scale * ce, "bce_loss": ce, "l1_loss": l1, "dice_loss": dice}
    return parts, (bce_scale * g_binary, l1_scale * g_thresh, g_dice)
