"""How far each loss and its gradient are from float64, beside PyTorch's own float32 on the same inputs.

    python Tests/Accuracy/accuracy.py --sizes 10 16 20 24 --huge 268435456 --output accuracy.csv

prints a table (Markdown) of the worst of each loss and writes every measurement; the exit status says whether the bounds
of the design hold. The references are those of the tests: float64, sums in extended precision, gradients by hand; of huge
maps float64 is taken block by block.

A value's error is in parts of max(|value|, 1e-3), a gradient's, and that of db_step's map, in parts of its largest
entry. Scenes:

    ordinary   logits up to 16, or probabilities; a fifth of the pixels positive
    constant   the same prediction everywhere, where rounding cannot cancel
    saturated  logits of 20 or -20, probabilities of 1 or 0, half of them wrong
    perfect    logits of 12 on the right side, probabilities within 1/256 of the target
    one        a single positive pixel
"""

import argparse
import csv
import dataclasses
import itertools
import os
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "bindings" / "python" / "tests"
sys.path.insert(0, str(TESTS))

import numpy as np
import reference
import reference_boundary
import reference_ctpn
import reference_windows
import segloss
import torch
import torch.nn.functional as F
import upstream_losses as losses
import upstream_torch as detectors
from catalog import BY_NAME, Entry
from reference_pointwise import cross_entropies, focal_terms
from support import PREDICTION_TYPES, binary, total
from test_oracle_torch_windows import active_contour, structure

SCENES = ("ordinary", "constant", "saturated", "perfect", "one")
# Design, section 8: of the value and of the gradient's largest entry, before the one rounding to half precision.
BOUNDS = {"f64": (1e-12, 1e-12), "f32": (1e-6, 1e-6), "f16": (1e-6, 1e-6), "bf16": (1e-6, 1e-6)}
# Half a unit in the last place, relative; and half of the smallest number.
ROUNDING = {"f64": (0, 0), "f32": (0, 0), "f16": (2.0**-11, 2.0**-25), "bf16": (2.0**-8, 2.0**-134)}
# The largest maps whose references take a minute and a few GB at most: shifted copies, sorted values.
LARGEST = {"boundary": 22, "structure": 24, "contour": 24, "db": 24, "balance": 24, "l1": 24, "ctpn": 24}


def window_entry(name, loss, reference, draw):
    def call(*inputs):
        result = reference(*inputs)
        if name == "boundary":
            (value, _), _, grad = result
            return {"loss": value}, (grad,)
        return result[0], (result[1],)

    return Entry(
        name,
        lambda **options: loss(**{"return_parts": True, **options}),
        draw,
        call,
        ("logits",) if name == "boundary" else ("pred",) if name == "structure" else ("input",),
        labels=("labels",) if name == "boundary" else (),
        span=(-16.0, 16.0) if name != "contour" else (0.0, 1.0),
    )


def pair(first, second):
    def draw(rng, shape):
        n, h, w = shape
        return {first: rng.random((n, 1, h, w)), second: binary(rng, (n, 1, h, w), 0.2)}

    return draw


def classes(rng, shape):
    n, h, w = shape
    return {
        "logits": rng.random((n, 3, h, w)),
        "labels": rng.integers(0, 3, (n, 1 + h // 4, 1 + w // 4)).repeat(4, 1).repeat(4, 2)[:, :h, :w],
    }


def anchors(rng, shape):
    """CTPN's arguments as rows: an anchor for each pixel, a third of them kept and text, a third kept and none."""
    n, h, w = shape
    count = n * h * w
    labels = rng.integers(-1, 2, count)
    text = (labels == 1)[:, None]
    return {
        "cls": rng.random((count, 2)),
        "box": rng.random((count, 4)),
        "rpn_labels": labels,
        "rpn_bbox_targets": rng.integers(-(2**22), 2**22, (count, 4)) / 2**21,
        "rpn_bbox_inside_weights": text * np.ones(4),
        "rpn_bbox_outside_weights": text * np.ones(4),
        "side": rng.random(count),
        "side_targets": rng.integers(-(2**22), 2**22, count) / 2**21,
        "side_mask": binary(rng, count, 0.4),
    }


def ctpn_torch(cls, box, labels, targets, inside, outside, side, side_targets, side_mask):
    kept = labels != -1
    boxes = outside * F.smooth_l1_loss(inside * box, inside * targets, beta=1 / 9, reduction="none")
    sides = side_mask * F.smooth_l1_loss(side, side_targets, beta=1 / 9, reduction="none")
    return (
        F.cross_entropy(cls, labels, ignore_index=-1)
        + boxes[kept].sum() / ((labels == 1).sum() + 1)
        + 2 * sides[kept].sum() / side_mask[kept].sum().clamp(min=1)
    )


def step_map(rng, shape):
    """What `db_step` takes, and the factor that comes from above."""
    return {name: rng.integers(1, 2**24, shape) / 2**24 for name in ("prob", "thresh", "grad_output")}


class Step:
    """`db_step` in the shape of a loss whose value is a map."""

    def value_and_grad(self, prob, thresh, grad_output):
        return segloss.db_step(prob, thresh), segloss.db_step_grad(prob, thresh, grad_output)


def step_reference(prob, thresh, grad_output):
    value, slope = reference.db_step(prob, thresh)
    return value, (slope * grad_output, -slope * grad_output)


# The loss by its name among the tests' cases, and what PyTorch code runs in its place.
LOSSES = {
    "dice": losses.dice,
    "iou": losses.iou,
    "tversky": lambda x, y: losses.tversky(x, y, alpha=0.3, beta=0.7),
    "focal-tversky": lambda x, y: losses.focal_tversky(x, y, alpha=0.3, beta=0.7, gamma=0.75),
    "dice-bce": lambda x, y: losses.dice(x, y) + F.binary_cross_entropy_with_logits(x, y),
    "bce": F.binary_cross_entropy_with_logits,
    "bce-probabilities": lambda p, y, w, m: (F.binary_cross_entropy(p, y, w, reduction="none") * m).sum() / m.sum(),
    "focal": lambda x, y: (lambda ce: 0.8 * (1 - torch.exp(-ce)) ** 2 * ce)(F.binary_cross_entropy_with_logits(x, y)),
    "focal-paper": lambda x, y, m: (losses.sigmoid_focal(x, y) * m).sum() / m.sum(),
    "smooth-l1": F.smooth_l1_loss,
    "cross-entropy": F.cross_entropy,
    "dice-softmax": None,
    "mask-dice": detectors.mask_dice,
    "mask-l1": detectors.mask_l1,
    "balance-dice": lambda p, g, m: detectors.mined(detectors.mask_dice(p, g, m), g, m, 3),
    "balance-bce": lambda p, g, m: detectors.mined(F.binary_cross_entropy(p, g, reduction="none"), g, m, 3),
    "db": None,
    "db-wenmuzhou": detectors.wenmuzhou,
    "db-paper": detectors.paper,
    "l1-balance-ce": detectors.l1_balance_ce,
    "db-step": lambda p, t, _: 1 / (1 + torch.exp(-50 * (p - t))),
    "ctpn": ctpn_torch,
    "structure": structure,
    "contour": lambda p, y: active_contour(y, p),
    "boundary": lambda x, y: detectors.boundary(x, y).mean(),
}
OTHERS = {
    "db-step": Entry("db-step", lambda **_: Step(), step_map, step_reference, ("prob", "thresh")),
    "ctpn": Entry(
        "ctpn",
        lambda **options: segloss.CTPNLoss(return_parts=True, **options),
        anchors,
        reference_ctpn.ctpn_loss,
        ("cls", "box", "side"),
        labels=("rpn_labels",),
        span=(-16.0, 16.0),
    ),
    "structure": window_entry("structure", segloss.StructureLoss, reference_windows.structure, pair("pred", "mask")),
    "contour": window_entry(
        "contour", segloss.ActiveContourLoss, reference_windows.active_contour, pair("input", "target")
    ),
    "boundary": window_entry("boundary", segloss.BoundaryLoss, reference_boundary.boundary, classes),
}


def entry_of(name):
    return OTHERS.get(name) or BY_NAME[name]


def of_anchors(rng, inputs, scene):
    """What CTPN predicts of `inputs`, whose labels are changed for the scene that has a single positive anchor."""
    labels, shapes = inputs["rpn_labels"], {name: inputs[name].shape for name in ("cls", "box", "side")}
    if scene == "one":
        labels[...] = 0
        labels[len(labels) // 3] = 1
        for name in ("rpn_bbox_inside_weights", "rpn_bbox_outside_weights"):
            inputs[name][...] = labels[:, None]
        inputs["side_mask"][...] = labels
    if scene == "constant":
        return {name: np.full(shape, 0.3) for name, shape in shapes.items()}
    if scene == "saturated":
        size = {"cls": 20.0, "box": 16.0, "side": 16.0}
        return {name: np.where(rng.random(shape) < 0.5, size[name], -size[name]) for name, shape in shapes.items()}
    if scene == "perfect":
        near = lambda targets: targets + np.where(rng.random(targets.shape) < 0.5, 1, -1) / 256  # noqa: E731
        return {
            "cls": np.where(labels[:, None] == np.arange(2), 12.0, -12.0),
            "box": near(inputs["rpn_bbox_targets"]),
            "side": near(inputs["side_targets"]),
        }
    return {name: np.clip(4 * rng.standard_normal(shape), -16, 16) for name, shape in shapes.items()}


def of_step(rng, inputs, scene):
    """Probabilities and thresholds; of a text detector's, those of nearly perfect ones lie from 0.3 to 0.7."""
    prob, thresh = inputs["prob"], inputs["thresh"]
    text = np.zeros(prob.shape, bool)
    if scene == "one":
        text.flat[text.size // 3] = True
    elif scene == "perfect":
        text = rng.random(prob.shape) < 0.2
    if scene == "constant":
        prob, thresh = np.full(prob.shape, 26 / 256), np.full(prob.shape, 77 / 256)
    elif scene == "saturated":
        prob, thresh = ((rng.random(prob.shape) < 0.5) * 1.0 for _ in range(2))
    elif scene in ("perfect", "one"):
        prob, thresh = np.where(text, 255, 1) / 256, 0.3 + 0.4 * thresh
    return {"prob": prob, "thresh": thresh}


def draw(entry, shape, scene):
    """Inputs in float64 whose numbers a float32 holds; those of losses that select are multiples of 1/256, so that
    rounding does not decide what is selected."""
    rng = np.random.default_rng([SCENES.index(scene), *shape])
    inputs = entry.inputs(rng, shape)
    if entry.name in ("ctpn", "db-step"):
        spoken_for = {"ctpn": of_anchors, "db-step": of_step}[entry.name](rng, inputs, scene)
        return inputs | {name: v.astype(np.float32).astype(np.float64) for name, v in spoken_for.items()}
    logits = entry.span[0] < 0
    selects = entry.divides and entry.name.startswith(("balance", "db", "l1"))
    target = next(name for name in inputs if name in ("gt", "target", "shrink_map", "mask", "labels"))
    label = inputs[target]
    if scene == "one" and target not in entry.labels:
        label[...] = 0
        label.flat[label.size // 3] = 1
    for name in entry.predictions:
        size = inputs[name].shape
        # A class's own channel, or the map that the target is of.
        if target in entry.labels:
            positive = np.arange(size[1]).reshape(1, -1, 1, 1) == label[:, None]
        else:
            positive = np.broadcast_to(label[:, None] if label.ndim < len(size) else label, size) > 0.5
        if scene == "constant":
            values = np.full(size, 0.3 if logits else 26 / 256)
        elif scene == "saturated":
            values = np.where(rng.random(size) < 0.5, 20.0, -20.0) if logits else (rng.random(size) < 0.5) * 1.0
        elif scene == "perfect":
            values = np.where(positive, 12.0, -12.0) if logits else np.where(positive, 255, 1) / 256
        elif logits:
            values = np.clip(4 * rng.standard_normal(size), -16, 16)
        else:
            values = rng.integers(1, 256, size) / 256 if selects else rng.integers(1, 2**24, size) / 2**24
        inputs[name] = values.astype(np.float32).astype(np.float64)
    if scene == "saturated" and entry.name.startswith("db-paper"):
        inputs["maps"][:, 1] = 0.5
    return inputs


def error(got, want):
    """(value, gradient)"""
    (value, grads), (number, gradients) = got, want
    number = np.asarray(number, np.float64)
    off = float(np.abs(np.asarray(value, np.float64) - number).max() / max(np.abs(number).max(), 1e-3))
    # Map by map: a small gradient must not hide behind a large one.
    slopes = []
    for g, w in zip(grads, gradients, strict=True):
        axes = tuple(i for i in range(w.ndim) if i != 1) if w.ndim == 4 else None
        largest = np.abs(w).max(axes, keepdims=True)
        off_by = np.abs(g.astype(np.float64) - w).max(axes, keepdims=True)
        slopes.append(
            np.where(largest > 0, off_by / np.where(largest > 0, largest, 1), np.where(off_by > 0, np.inf, 0)).max()
        )
    return off, float(max(slopes))


def of_bound(kind, grads, gradients, bound):
    """The largest error of a gradient in parts of what is allowed: the bound, and one rounding to half precision."""
    relative, smallest = ROUNDING[kind]
    worst = 0.0
    for g, w in zip(grads, gradients, strict=True):
        # Rounded to float16 these are infinite.
        beyond = np.abs(w) >= (65520 if kind == "f16" else np.inf)
        if not (g[beyond] == np.copysign(np.inf, w[beyond])).all():
            return np.inf
        axes = tuple(i for i in range(w.ndim) if i != 1) if w.ndim == 4 else None
        allowed = bound * np.abs(w).max(axes, keepdims=True) * (1 + relative) + relative * np.abs(w) + smallest
        off = np.abs(np.where(beyond, 0, g).astype(np.float64) - np.where(beyond, 0, w))
        worst = max(worst, float((off / (allowed + np.finfo(np.float64).tiny)).max()))
    return worst


def torch_error(function, entry, inputs, want):
    given = {
        name: torch.from_numpy(np.asarray(v, np.int64 if name in entry.labels else np.float32))
        for name, v in inputs.items()
    }
    for name in entry.predictions:
        given[name].requires_grad_()
    value = function(*given.values())
    grads = torch.autograd.grad(value, [given[name] for name in entry.predictions], given.get("grad_output"))
    return error((value.detach().numpy(), [g.numpy() for g in grads]), want)


@dataclasses.dataclass
class Measurement:
    loss: str
    type: str
    size: int  # pixels
    scene: str
    value: float | None  # None of a map in half precision, which is held like the gradients
    gradient: float
    of_bound: float  # the gradient's error in parts of what is allowed
    torch_value: float | None
    torch_gradient: float | None
    holds: bool


def measure(name, kind, size, scene):
    entry = entry_of(name)
    h = 1 << (size - 1) // 2
    shape = (2, h, (1 << size - 1) // h)
    inputs = entry.typed(draw(entry, shape, scene), PREDICTION_TYPES[kind], np.float32 if kind != "f64" else np.float64)
    value, grads = entry.run(inputs)
    parts, gradients = entry.reference(*inputs.values())
    value, want = total(value), (total(parts), gradients)
    # float32 of probabilities close to 0 or 1 divides by p (1 - p): design, section 8.
    value_bound, gradient_bound = BOUNDS[kind]
    if entry.divides and kind != "f64":
        gradient_bound *= 2
    off = error((value, grads), want)
    share = of_bound(kind, grads, gradients, gradient_bound)
    if entry.name == "db-step" and kind in ("f16", "bf16"):  # its value is a map, and rounded like its gradients
        share = max(share, of_bound(kind, [value], want[:1], value_bound))
        off = None, off[1]
    holds = (off[0] or 0) <= value_bound and share <= 1
    theirs = (None, None)
    if kind == "f32" and (function := LOSSES[name]):
        theirs = torch_error(function, entry, inputs, want)
    return Measurement(name, kind, 1 << size, scene, *off, share, *theirs, bool(holds))


# ---------------------------------------------------------------- maps of which float64 does not fit in memory


def blocks(*arrays):
    """The arrays in float64, a block of pixels at a time; with x also p and 1 - p: (place, x, p, 1 - p, y)."""
    for start in range(0, arrays[0].size, 1 << 18):
        at = slice(start, start + (1 << 18))
        x, y = (a[at].astype(np.float64) for a in arrays)
        yield at, x, 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x)), y


def sums(x, y):
    """TP, FP, FN, and what the cross-entropies and the focal losses of the pixels add up to."""
    result = np.zeros(5, np.longdouble)
    for _, a, p, q, t in blocks(x, y):
        terms = p * t, p * (1 - t), q * t, cross_entropies(a, t, True)[0], focal_terms(a, t, 0.25, 2, True)[0]
        result += [np.sum(v, dtype=np.longdouble) for v in terms]
    return result.astype(np.float64)


def overlap(tp, alpha, beta, gamma=1):
    """((alpha FP + beta FN) / (tp TP + alpha FP + beta FN + 1))^gamma."""

    def of(sums, _):
        hit, wrong = tp * sums[0] + 1, alpha * sums[1] + beta * sums[2]
        whole, value = hit + wrong, wrong / (hit + wrong)

        def slope(x, p, q, y):
            return (
                gamma * value ** (gamma - 1) * ((alpha * (1 - y) - beta * y) * hit - tp * y * wrong) / whole**2 * p * q
            )

        return value**gamma, slope

    return of


def mean_bce(sums, count):
    return sums[3] / count, lambda x, p, q, y: ((1 - y) * p - y * q) / count


def dice_bce(sums, count):
    (dice, dice_slope), (bce, bce_slope) = overlap(2, 1, 1)(sums, count), mean_bce(sums, count)
    return dice + bce, lambda *block: dice_slope(*block) + bce_slope(*block)


def focal(sums, count):
    mean, slope = mean_bce(sums, count)
    easy = -np.expm1(-mean)
    rate = 0.8 * (easy**2 + 2 * easy * np.exp(-mean) * mean)
    return 0.8 * easy**2 * mean, lambda *block: rate * slope(*block)


def mean_focal(sums, count):
    return sums[4] / count, lambda x, p, q, y: focal_terms(x, y, 0.25, 2, True)[1] / count


# The loss, value and slope by the sums, and how many pixels PyTorch has memory for (16 GB).
BY_BLOCKS = {
    "dice": (segloss.DiceLoss(), overlap(2, 1, 1), 2**28),
    "iou": (segloss.IoULoss(), overlap(1, 1, 1), 2**28),
    "tversky": (segloss.TverskyLoss(alpha=0.3, beta=0.7), overlap(1, 0.3, 0.7), 2**28),
    "focal-tversky": (segloss.FocalTverskyLoss(alpha=0.3, beta=0.7, gamma=0.75), overlap(1, 0.3, 0.7, 0.75), 2**28),
    "dice-bce": (segloss.DiceBCELoss(), dice_bce, 2**28),
    "bce": (segloss.BCELoss(), mean_bce, 2**28),
    "focal": (segloss.FocalLoss(), focal, 2**28),
    "focal-paper": (segloss.FocalLoss(variant="paper"), mean_focal, 2**27),
}


def draw_large(count, scene):
    """Logits in float32, and targets."""
    rng = np.random.default_rng([SCENES.index(scene), count])
    random = lambda: rng.random(count, np.float32)  # noqa: E731
    y = np.zeros(count, np.uint8) if scene == "one" else (random() < 0.2).view(np.uint8)
    if scene == "one":
        y[count // 3] = 1
    if scene in ("ordinary", "one"):
        x = rng.standard_normal(count, np.float32)
        x *= 4
        return np.clip(x, -16, 16, out=x), y
    if scene == "constant":
        return np.full(count, 0.3, np.float32), y
    high = random() < 0.5 if scene == "saturated" else y == 1
    size = np.float32(20 if scene == "saturated" else 12)
    return np.where(high, size, -size), y


def by_blocks(names, count, scene):
    x, y = draw_large(count, scene)
    of_all = sums(x, y)
    for name in names:
        loss, reference, theirs_fit = BY_BLOCKS[name]
        want, slope = reference(of_all, count)
        value, grad = loss.value_and_grad(x, y)
        their_value, their_grad = None, None
        if count <= theirs_fit:
            given = torch.from_numpy(x).requires_grad_()
            function = LOSSES[name] if name != "focal-paper" else lambda *inputs: losses.sigmoid_focal(*inputs).mean()
            result = function(given, torch.from_numpy(y).float())
            result.backward()
            their_value, their_grad = float(result.detach()), given.grad.numpy()
        largest, off, their_off = 0.0, 0.0, 0.0
        for at, *block in blocks(x, y):
            w = slope(*block)
            largest = max(largest, np.abs(w).max())
            off = max(off, np.abs(grad[at] - w).max())
            their_off = max(their_off, np.abs(their_grad[at] - w).max() if their_grad is not None else 0)
        off, scale = off / largest, max(abs(want), 1e-3)
        value_off = abs(value - want) / scale
        theirs = (None, None) if their_grad is None else (abs(their_value - want) / scale, their_off / largest)
        holds = value_off <= BOUNDS["f32"][0] and off <= BOUNDS["f32"][1]
        yield Measurement(name, "f32", count, scene, value_off, off, off / BOUNDS["f32"][1], *theirs, bool(holds))


def table(rows):
    """The worst of each loss and type, and the scene and size that it comes of."""
    number = lambda v: "–" if v is None else f"{v:.1e}"  # noqa: E731
    print("| loss | type | largest map | value | gradient | torch float32: value | gradient | worst scene |")
    print("|---|---|---|---|---|---|---|---|")
    key = lambda row: (row.loss, row.type)  # noqa: E731
    for (loss, kind), group in itertools.groupby(sorted(rows, key=key), key):
        group = list(group)
        worst = max(group, key=lambda row: row.value or 0)
        worst_gradient = max(group, key=lambda row: row.of_bound)
        theirs = [
            max((v for row in group if (v := getattr(row, field)) is not None), default=None)
            for field in ("torch_value", "torch_gradient")
        ]
        scenes = f"{worst.scene}, {worst.size}; {worst_gradient.scene}, {worst_gradient.size}"
        gradient = number(worst_gradient.gradient)
        if kind in ("f16", "bf16"):
            gradient = f"{worst_gradient.of_bound:.2f} of one rounding"
        cells = [loss, kind, str(max(row.size for row in group)), number(worst.value), gradient]
        print("| " + " | ".join([*cells, *map(number, theirs), scenes]) + " |")


def measurements(arguments):
    start = time.monotonic()
    for name, size in itertools.product(arguments.losses, arguments.sizes):
        if size > LARGEST.get(name.split("-")[0], 26):
            continue
        for kind, scene in itertools.product(PREDICTION_TYPES if size <= 20 else ["f32"], SCENES):
            yield measure(name, kind, size, scene)
        print(f"{name} 2^{size}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    for count, scene in itertools.product(arguments.huge, SCENES):
        yield from by_blocks([name for name in arguments.losses if name in BY_BLOCKS], count, scene)
        print(f"{count} pixels, {scene}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 16, 20], help="powers of 2: pixels of a batch")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument(
        "--huge", type=int, nargs="*", default=[], help=f"pixels of larger maps, for {', '.join(BY_BLOCKS)}"
    )
    parser.add_argument("--output", type=Path, help="every measurement, as CSV")
    arguments = parser.parse_args()

    rows = []
    with (arguments.output or Path(os.devnull)).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in dataclasses.fields(Measurement))
        for row in measurements(arguments):
            rows.append(row)
            writer.writerow(dataclasses.astuple(row))
            file.flush()
    table(rows)
    beyond = [row for row in rows if not row.holds]
    for row in beyond:
        print("beyond its bound:", row)
    print(f"{len(rows)} measurements, {len(beyond)} beyond their bounds")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
