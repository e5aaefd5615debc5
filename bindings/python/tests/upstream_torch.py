"""What the torch code bases compute, rewritten as torch operations so that autograd derives the gradients.

The functions follow the upstream formulas term by term, the float32 order of their sums included, and run in whatever
precision they are given: float64 to judge `reference.py`, float32 to judge segloss. Maps are N x H x W.
"""

import torch
import torch.nn.functional as F


def mask_dice(p, g, m, weights=None, eps=1e-6):
    m = m if weights is None else m * weights
    return 1 - 2 * (p * g * m).sum() / ((p * m).sum() + (g * m).sum() + eps)


def mask_l1(t, ts, m, eps=1e-6):
    return ((t - ts).abs() * m).sum() / (m.sum() + eps)


def mask_l1_guarded(t, ts, m):
    mass = m.sum()
    return mass if mass.item() == 0 else ((t - ts).abs() * m).sum() / mass


def top_sum(v, k):
    v = v.flatten()
    return torch.topk(v, min(k, v.numel()))[0].sum()


def balanced_ce(p, g, m, ratio=3.0, eps=1e-6):
    """MhLiao's balanced cross-entropy: both weights are cast to bytes before they are used."""
    pos, neg = (g * m).byte(), ((1 - g) * m).byte()
    n_pos = int(pos.float().sum())
    n_neg = min(int(neg.float().sum()), int(n_pos * ratio))
    loss = F.binary_cross_entropy(p, g, reduction="none")
    return ((loss * pos.to(loss.dtype)).sum() + top_sum(loss * neg.to(loss.dtype), n_neg)) / (n_pos + n_neg + eps)


def mined(loss, g, m, ratio, eps=1e-6):
    """PaddleOCR's balancing of a main loss, a scalar or a map; needed here to judge the references in float64."""
    pos, neg = g * m, (1 - g) * m
    n_pos = int(pos.sum())
    n_neg = int(min(neg.sum(), n_pos * ratio))
    if n_neg > 0:
        return ((pos * loss).sum() + top_sum(neg * loss, n_neg)) / (n_pos + n_neg + eps)
    return (pos * loss).sum() / (n_pos + eps)


def l1_balance_ce(binary, thresh, thresh_binary, gt, mask, thresh_map, thresh_mask, eps=1e-6, l1_scale=10, bce_scale=5):
    ce = balanced_ce(binary, gt, mask)
    if thresh is None:
        return ce
    return (
        mask_dice(thresh_binary, gt, mask, eps=eps)
        + l1_scale * mask_l1_guarded(thresh, thresh_map, thresh_mask)
        + bce_scale * ce
    )


def wenmuzhou(maps, ts, mt, g, m, alpha=1.0, beta=10.0, ratio=3.0, eps=1e-6):
    shrink = balanced_ce(maps[:, 0], g, m, ratio)
    if maps.shape[1] == 2:
        return shrink
    return alpha * shrink + beta * mask_l1(maps[:, 1], ts, mt, eps) + mask_dice(maps[:, 2], g, m, eps=eps)


def paper(maps, ts, mt, g, m, alpha=1.0, beta=10.0, ratio=3.0, eps=1e-6, step_k=50.0):
    """Mined cross-entropy on P and on the binary map, the latter from the logits of the step unless `step_k` is 0."""
    p, t = maps[:, 0], maps[:, 1]
    if step_k:
        on_binary = F.binary_cross_entropy_with_logits(step_k * (p - t), g, reduction="none")
    else:
        on_binary = F.binary_cross_entropy(maps[:, 2], g, reduction="none")
    on_shrink = F.binary_cross_entropy(p, g, reduction="none")
    return mined(on_shrink, g, m, ratio) + alpha * mined(on_binary, g, m, ratio) + beta * mask_l1(t, ts, mt, eps)


def db_step(p, t, k=50.0):
    return torch.reciprocal(1 + torch.exp(-k * (p - t)))


def boundary(pred, labels, theta0=3, theta=5):
    """1 - BF1 of each image and class."""

    def widened(a, size):
        return F.max_pool2d(a, kernel_size=size, stride=1, padding=size // 2)

    outside = 1 - torch.softmax(pred, dim=1)
    truth = 1 - F.one_hot(labels.long(), pred.shape[1]).movedim(-1, 1).to(pred.dtype)
    edges, edge_truth = widened(outside, theta0) - outside, widened(truth, theta0) - truth
    near, near_truth = (widened(a, theta).flatten(2) for a in (edges, edge_truth))
    edges, edge_truth = edges.flatten(2), edge_truth.flatten(2)
    precision = (edges * near_truth).sum(dim=2) / (edges.sum(dim=2) + 1e-7)
    recall = (near * edge_truth).sum(dim=2) / (edge_truth.sum(dim=2) + 1e-7)
    return 1 - 2 * precision * recall / (precision + recall + 1e-7)
