"""What scripts run today, in torch operations whose gradients autograd derives: the Kaggle "loss function library",
the paper's focal loss as torchvision has it, and the overlap losses with the options that segloss adds to them.

They follow the published formulas term by term and run in whatever precision they are given: float64 to judge the
references, float32 to judge segloss.
"""

import torch
import torch.nn.functional as F

# ---------------------------------------------------------------- published: one score for everything


def dice(inputs, targets, smooth=1):
    p, y = torch.sigmoid(inputs).reshape(-1), targets.reshape(-1)
    return 1 - (2 * (p * y).sum() + smooth) / (p.sum() + y.sum() + smooth)


def iou(inputs, targets, smooth=1):
    p, y = torch.sigmoid(inputs).reshape(-1), targets.reshape(-1)
    both, either = (p * y).sum(), (p + y).sum()
    return 1 - (both + smooth) / (either - both + smooth)


def dice_bce(inputs, targets, smooth=1):
    return dice(inputs, targets, smooth) + F.binary_cross_entropy(torch.sigmoid(inputs), targets)


def focal(inputs, targets, alpha=0.8, gamma=2):
    bce = F.binary_cross_entropy(torch.sigmoid(inputs), targets)
    return alpha * (1 - torch.exp(-bce)) ** gamma * bce


def tversky(inputs, targets, smooth=1, alpha=0.5, beta=0.5):
    p, y = torch.sigmoid(inputs).reshape(-1), targets.reshape(-1)
    tp, fp, fn = (p * y).sum(), ((1 - y) * p).sum(), (y * (1 - p)).sum()
    return 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)


def focal_tversky(inputs, targets, smooth=1, alpha=0.5, beta=0.5, gamma=1):
    return tversky(inputs, targets, smooth, alpha, beta) ** gamma


# ---------------------------------------------------------------- focal, each element on its own


def sigmoid_focal(inputs, targets, alpha=0.25, gamma=2.0):
    p = torch.sigmoid(inputs)
    ce = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = ce * (1 - p_t) ** gamma
    return (alpha * targets + (1 - alpha) * (1 - targets)) * loss if alpha >= 0 else loss


# ---------------------------------------------------------------- overlap with options


def items(x, target, mask=None, *, score, activation="sigmoid", average="micro", per_sample=False, classes=None,
          absent="count", class_weight=None, ignore_index=None, cross_entropy=False):  # fmt: skip
    """(overlap items, which of them count, cross-entropy items), each N x classes, N x 1, 1 x classes or 1 x 1.

    x is N x C x positions; target the same, or N x positions of labels; mask N x C or 1 x positions.
    """
    C = x.shape[1]
    m = torch.ones_like(x) if mask is None else mask.expand_as(x).clone()
    if target.dim() == 2:
        ignored = target == -1 if ignore_index is None else target == ignore_index
        m = m * ~ignored[:, None]
        y = F.one_hot(torch.where(ignored, 0, target), C).movedim(-1, 1).to(x.dtype) * ~ignored[:, None]
    else:
        ignored = torch.zeros_like(target, dtype=bool) if ignore_index is None else target == ignore_index
        y, m = torch.where(ignored, 0, target), m * ~ignored
    p = {"sigmoid": torch.sigmoid, "softmax": lambda x: x.softmax(1), "none": lambda x: x}[activation](x)
    if activation == "none":
        entropy = F.binary_cross_entropy(p, y, reduction="none")
    else:
        entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none")

    w = torch.ones(C, dtype=x.dtype) if class_weight is None else torch.as_tensor(class_weight, dtype=x.dtype)
    elements, m = m, m * w[:, None] if average == "micro" else m
    taking_part = list(range(C)) if classes is None else classes
    axes = [2] + ([] if per_sample else [0]) + ([] if average == "macro" else [1])

    def sums(a):
        return a[:, taking_part].sum(axes, keepdim=True)[..., 0]

    scored = score(sums(p * y * m), sums(p * m), sums(y * m))
    factor = w[taking_part] if average == "macro" else 1.0
    present = (sums(y * m) != 0) | (absent == "count")
    mass = sums(elements)
    mean = torch.where(mass == 0, 0 * mass, sums(entropy * m) / torch.where(mass == 0, 1, mass))
    counted = present | (absent == "zero")
    return scored * factor * present, counted, mean * factor if cross_entropy else None


SCORES = {
    "dice": lambda both, p, y, s=1.0: 1 - (2 * both + s) / (p + y + s),
    "iou": lambda both, p, y, s=1.0: 1 - (both + s) / (p + y - both + s),
    "tversky": lambda both, p, y, s=1.0, a=0.5, b=0.5: 1 - (both + s) / (both + a * (p - both) + b * (y - both) + s),
}


def overlap(x, target, mask=None, *, reduction="mean", **options):
    """The loss, or with "none" the items in the shape that segloss gives them."""
    scored, counted, entropies = items(x, target, mask, **options)
    if reduction == "none":
        rows, columns = options.get("per_sample", False), options.get("average", "micro") == "macro"
        all_ = scored if entropies is None else scored + entropies
        return all_[tuple(slice(None) if kept else 0 for kept in (rows, columns))]
    if reduction == "sum":
        return scored.sum() + (0 if entropies is None else entropies.sum())
    loss = scored.sum() / max(int(counted.sum() * (scored.numel() / counted.numel())), 1)
    return loss if entropies is None else loss + entropies.mean()
