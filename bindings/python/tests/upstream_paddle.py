"""What PaddleOCR computes, rewritten as Paddle operations so that dygraph derives the gradients. Maps are N x H x W."""

import paddle
import paddle.nn.functional as F


def mask_dice(p, g, m, weights=None, eps=1e-6):
    m = m if weights is None else weights * m
    intersection = paddle.sum(p * g * m)
    return 1 - 2.0 * intersection / (paddle.sum(p * m) + paddle.sum(g * m) + eps)


def mask_l1(t, ts, m, eps=1e-6):
    return paddle.mean((paddle.abs(t - ts) * m).sum() / (m.sum() + eps))


def main_loss(name, p, g, m, eps=1e-6):
    if name == "BCELoss":
        return F.binary_cross_entropy(p, g, reduction="none")
    return {"DiceLoss": mask_dice, "MaskL1Loss": mask_l1}[name](p, g, m, eps=eps)


def balance(p, g, m, main="DiceLoss", ratio=3, eps=1e-6, balanced=True):
    """Balances a scalar as readily as a map: the products and the sort do not care, which is why a scalar is not mined
    at all."""
    loss = main_loss(main, p, g, m)
    if not balanced:
        return loss
    pos, neg = g * m, (1 - g) * m
    n_pos = int(pos.sum())
    n_neg = int(min(neg.sum(), n_pos * ratio))
    if n_neg > 0:
        mined = paddle.sort((neg * loss).reshape([-1]), descending=True)[:n_neg]
        return ((pos * loss).sum() + mined.sum()) / (n_pos + n_neg + eps)
    return (pos * loss).sum() / (n_pos + eps)


def db_loss(maps, ts, mt, g, m, main="DiceLoss", balanced=True, alpha=5, beta=10, ratio=3, eps=1e-6):
    shrink = alpha * balance(maps[:, 0], g, m, main, ratio, balanced=balanced)
    threshold = beta * mask_l1(maps[:, 1], ts, mt, eps)
    binary = mask_dice(maps[:, 2], g, m, eps=eps)
    return {
        "loss": shrink + threshold + binary,
        "loss_shrink_maps": shrink,
        "loss_threshold_maps": threshold,
        "loss_binary_maps": binary,
    }
