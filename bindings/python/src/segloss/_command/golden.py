"""The printed golden vectors, the closed forms of their inputs, and the losses that have to give them.

A number is kept as the text that was printed, because its digits say how much it promises: half a unit of the last one.
The tests hold the losses and their references against these, and `python -m segloss check` the installed library.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import segloss

# ---------------------------------------------------------------- inputs: k = 0..83, two images of 6 x 7

SHAPE = (2, 6, 7)
_k = np.arange(84)


def _map(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(values, np.float64).reshape(SHAPE)


x = _map(3 * np.sin(0.37 * _k + 0.5))
p = 1 / (1 + np.exp(-x))
y = _map((_k**2 + 3 * _k) % 11 < 4)
m = _map(_k % 9 != 4)
t = _map(0.5 + 0.4 * np.cos(0.21 * _k))
ts = _map(0.3 + 0.1 * (_k % 5))
mt = _map(_k % 4 != 1)
b = 1 / (1 + np.exp(-50 * (p - t)))
soft = _map(0.05 + 0.09 * ((7 * _k) % 10))

CHECKSUMS = [
    ("sum y", lambda: y.sum(), "15"),
    ("sum m", lambda: m.sum(), "75"),
    ("sum y m", lambda: (y * m).sum(), "14"),
    ("sum mt", lambda: mt.sum(), "63"),
    ("sum x", lambda: x.sum(), "-.399447612721"),
    ("sum p", lambda: p.sum(), "41.9012807645"),
    ("sum b", lambda: b.sum(), "44.3163670373"),
    ("sum soft m", lambda: (soft * m).sum(), "33.63"),
    ("sum (1-soft) m", lambda: ((1 - soft) * m).sum(), "41.37"),
]

# ---------------------------------------------------------------- one prediction, one gradient

# fmt: off
SINGLE = {
    # case:               loss,            sum g,           sum |g|,         g[0],              g[17]
    "mask dice":        (".746949372602", "-.175778976", ".777326198", "-.0340394705", ".00493071494"),
    "balance dice r3":  (".746949359264", "-.175778973", ".777326184", "-.0340394699", ".00493071485"),
    "balance bce r3":   ("1.59691504674", "4.94146897", "8.20816442", "-.022095293", ".0944564486"),
    "balance bce r1":   ("2.05687203353", "5.66212923", "12.19552", "-.0441905851", "0"),
    "mask l1":          (".252016558619", "-.111111109", ".999999984", ".0158730156", "0"),
    "ohem r3":          (".732144786484", "-.301275147", ".699041243", "-.0357255853", ".00552452911"),
    "ohem r3 clean":    (".738829221367", "-.268964605", ".710152423", "-.0349684653", ".00525223593"),
    "ohem r1":          (".603056613603", "-.528239547", ".843685927", "-.0489973384", "0"),
    "ohem r1 clean":    (".614132446946", "-.510920577", ".831938745", "-.0479592615", "0"),
    # On logits x.
    "dice":             (".727595868676", "-.0177960866", ".0942398474", "-.00462533071", ".000721272035"),
    "dice bce":         ("1.89384151933", ".302457256", ".595772379", "-.00690881127", ".0103754197"),
    "iou":              (".833984501059", "-.0104663948", ".0638668237", "-.00306879861", ".000503850617"),
    "focal":            (".44222630095", ".249607841", ".390898191", "-.00177976175", ".00752451459"),
    "focal paper":      (".567458559981", ".284439859", ".32839291", "-5.86960591e-5", ".00845984778"),
    "focal paper, no alpha": (".858879145316", ".320649078", ".49646128", "-.000234784236", ".011279797"),
    "tversky":          (".651593677746", "-.0345680505", ".105125161", "-.00576714342", ".000665729549"),
    "focal tversky":    (".725241498131", "-.0288563858", ".0877553737", "-.0048142407", ".000555731331"),
    # PyTorch's own, in float64 (2.13): cross-entropy on logits x and on p, smooth L1 of x towards 3t.
    "bce":              ("1.16624565065", ".320253342", ".501532532", "-.00228348055", ".00965414764"),
    "bce p":            ("1.16624565065", "3.89246567", "6.09693008", "-.0147301956", ".0629709669"),
    "smooth l1":        ("1.72350321018", "-.348575986", ".860168423", "-.0119047619", ".0119047619"),
    # Soft labels; the columns that were not printed are empty.
    "balance bce soft r.5": ("1.31166854376", "1.76448519", "6.04292564", "", ""),
    "balance dice soft r3": (".463879137123", "-.395294826", "", "", ""),
}
# fmt: on

# How many pixels of each image the OHEM of Dice selects.
SELECTED = {"ohem r3": (26, 24), "ohem r3 clean": (28, 28), "ohem r1": (13, 14), "ohem r1 clean": (14, 14)}

# ---------------------------------------------------------------- several: total, then (sum g, sum |g|) of P, T and B

# fmt: off
COMPOSED = {
    "paddle":           ("7.0481189038", ("-.878894864", "3.88663092"), ("-1.11111109", "9.99999984"),
                         ("-.238924055", ".721512704")),
    "mhliao":           ("11.2979473812", ("24.7073448", "41.0408221"), ("", "10"), ("-.238924055", ".721512704")),
    # With B = sigmoid(50 (P - T)) the gradient of B flows on into P and T.
    "paddle through step": ("7.0481189038", ("-1.1700372", "4.67676892"), ("-.819968761", "10.3378911"), ("", "")),
    "mhliao through step": ("11.2979473812", ("24.4162025", "41.8309601"), ("", "10.3378912"), ("", "")),
}
# fmt: on

# ---------------------------------------------------------------- the boundary loss, by (theta0, theta)

# fmt: off
BOUNDARY = {
    #         loss,            sum |g|,       g[0]
    (3, 5): (".16411026939",  ".259385909", ".0028259518"),
    (5, 3): (".234000116268", ".2937903",   ".00277287844"),
}
# PyTorch's own of the same logits and labels, in float64 (2.13); weighted: weights 1, 1/2, 2 and smoothing 0.1.
CROSS_ENTROPY = {
    "cross entropy":          ("2.46374024412", "", "1.58935947", "-.0089956566", ".0064801346"),
    "cross entropy weighted": ("2.2614312031", "", "1.46793605", "-.00698873204", ".00280735789"),
}
# fmt: on


def boundary_inputs() -> tuple[Any, Any]:
    """Logits of three classes, and labels."""
    j = np.arange(84)
    return (
        (2 * np.sin(0.53 * np.arange(252) + 0.1)).reshape(2, 3, 6, 7),
        ((j // 3 % 5 + j // 14) % 3).reshape(2, 6, 7),
    )


# ---------------------------------------------------------------- losses that look at neighbours

# fmt: off
STRUCTURE = {
    "published": ("1.8059698318", ".257089354", ".612724154", "-.00897196565", ".0100888106"),
    "paper":     ("1.80919407795", "-.123208931", ".615123003", "-.0135665543", ".00551819885"),
    "uacanet":   ("1.43979320532", "-.067829576", ".565278202", "-.0096574545", ".00537658078"),
}
CONTOUR = {
    "published 10": ("6.61166403814", ".642857143", "17.5157264", "-.0119047619", ".536760494"),
    "published 1":  ("1.11254568248", ".642857143", "2.19075878", "-.0119047619", ".0643903351"),
    "aligned 10":   ("6.93739751016", ".642857143", "17.2830222", ".0863195038", ".409645094"),
}
# fmt: on


# ---------------------------------------------------------------- CTPN: parts, then sum |g| of both gradients

CTPN = {"rpn_cross_entropy": ".663766799759", "rpn_loss_box": ".211813768538", "loss": ".875580568277"}
CTPN_GRADIENTS = (("", ".878424343"), ("", "1.46063236"))
CTPN_BOX_17 = "-.25"


def ctpn_inputs(inside: Sequence[float] = (0, 1, 0, 1)) -> tuple[Any, ...]:
    """Twelve anchors in rows."""
    i, n = np.arange(12), np.arange(48).reshape(12, 4)
    labels = np.array([1, 0, -1, 0, 1, -1, 0, 0, 1, 0, -1, 0])
    text = np.repeat((labels == 1)[:, None], 4, axis=1).astype(float)
    return (
        np.stack([np.sin(0.9 * i + 0.2), np.cos(1.3 * i)], axis=1),
        0.4 * np.sin(0.31 * n),
        labels,
        0.4 * np.cos(0.47 * n),
        text * inside,
        text,
    )


# ---------------------------------------------------------------- what has to give them


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss and its inputs, with what was printed: the value, and for each gradient its sum, its sum of magnitudes, and
    entries 0 and 17, as far as they were printed."""

    name: str
    loss: Any
    inputs: tuple[Any, ...]
    value: str
    gradients: tuple[tuple[str, ...], ...]

    def verify(self) -> None:
        """Raises AssertionError where the loss gives something else."""
        value, gradients = self.loss.value_and_grad(*self.inputs)
        check(value["loss"] if isinstance(value, dict) else value, self.value, self.name)
        if isinstance(self.loss, segloss.DBLoss):
            gradients = tuple(np.moveaxis(gradients, 1, 0))
        elif not isinstance(gradients, tuple):
            gradients = (gradients,)
        for i, (gradient, printed) in enumerate(zip(gradients, self.gradients, strict=True)):
            entries = (*printed[2:], "", "")[:2]
            check_gradient(gradient, printed[:2], entries, f"{self.name}, gradient {i}")


def _balance(main: Any, ratio: float = 3, labels: Any = y, **options: Any) -> tuple[Any, tuple[Any, ...]]:
    return segloss.BalanceLoss(main_loss_type=main, negative_ratio=ratio, **options), (p, labels, m)


def _of(loss: str, variant: str, *weight: str) -> Any:
    return segloss.LOSSES[loss](*map(float, weight), variant=variant)


_four = tuple(a.reshape(2, 1, 6, 7) for a in (x, p, y))
_single: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "mask dice": (segloss.MaskDiceLoss(), (p, y, m)),
    "balance dice r3": _balance("DiceLoss"),
    "balance bce r3": _balance("BCELoss"),
    "balance bce r1": _balance("BCELoss", 1),
    "mask l1": (segloss.MaskL1Loss(), (t, ts, mt)),
    "ohem r3": _balance("DiceOHEM"),
    "ohem r3 clean": _balance("DiceOHEM", clean=True),
    "ohem r1": _balance("DiceOHEM", 1),
    "ohem r1 clean": _balance("DiceOHEM", 1, clean=True),
    "dice": (segloss.DiceLoss(), (x, y)),
    "dice bce": (segloss.DiceBCELoss(), (x, y)),
    "iou": (segloss.IoULoss(), (x, y)),
    "focal": (segloss.FocalLoss(), (x, y)),
    "focal paper": (segloss.FocalLoss(variant="paper"), (x, y)),
    "focal paper, no alpha": (segloss.FocalLoss(variant="paper", alpha=-1), (x, y)),
    "tversky": (segloss.TverskyLoss(alpha=0.3, beta=0.7), (x, y)),
    "focal tversky": (segloss.FocalTverskyLoss(alpha=0.3, beta=0.7, gamma=0.75), (x, y)),
    "bce": (segloss.BCELoss(), (x, y)),
    "bce p": (segloss.BCELoss(from_logits=False), (p, y)),
    "smooth l1": (segloss.SmoothL1Loss(), (x, 3 * t)),
    "balance bce soft r.5": _balance("BCELoss", 0.5, soft),
    "balance dice soft r3": _balance("DiceLoss", 3, soft),
}
_cross_entropy = {
    "cross entropy": segloss.CrossEntropyLoss(),
    "cross entropy weighted": segloss.CrossEntropyLoss([1, 0.5, 2], label_smoothing=0.1),
}
_composed: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "paddle": (segloss.DBLoss(), (np.stack([p, t, b], axis=1), ts, mt, y, m)),
    "mhliao": (segloss.L1BalanceCELoss(), (p, t, b, y, m, ts, mt)),
}

CASES = [
    *(Case(name, *_single[name], printed[0], (printed[1:],)) for name, printed in SINGLE.items()),
    *(Case(name, *call, COMPOSED[name][0], COMPOSED[name][1:]) for name, call in _composed.items()),
    *(
        Case(f"boundary {a}, {b}", segloss.BoundaryLoss(a, b), boundary_inputs(), loss, (("", size, first),))
        for (a, b), (loss, size, first) in BOUNDARY.items()
    ),
    *(
        Case(name, _cross_entropy[name], boundary_inputs(), printed[0], (printed[1:],))
        for name, printed in CROSS_ENTROPY.items()
    ),
    *(
        Case(f"structure {name}", _of("StructureLoss", name), _four[::2], row[0], (row[1:],))
        for name, row in STRUCTURE.items()
    ),
    *(
        Case(f"contour {name}", _of("ActiveContourLoss", *name.split()), _four[1:], row[0], (row[1:],))
        for name, row in CONTOUR.items()
    ),
    Case(
        "ctpn",
        segloss.CTPNLoss(),
        ctpn_inputs(),
        CTPN["loss"],
        (CTPN_GRADIENTS[0], (*CTPN_GRADIENTS[1], "", CTPN_BOX_17)),
    ),
]


def check(got: float, printed: str, what: Any = "") -> None:
    """`got` is the printed number to 1e-9, or to half a unit of the last printed digit where fewer were printed."""
    if not printed:
        return
    number = Decimal(printed)
    half_unit = 0.5 * 10.0 ** int(number.as_tuple().exponent) if "." in printed else 0.0
    if not math.isclose(got, float(number), rel_tol=1e-9, abs_tol=half_unit * (1 + 1e-9)):
        raise AssertionError(f"{what}: {got!r} is not {printed}")


def check_gradient(grad: Any, sums: Sequence[str], entries: Sequence[str] = ("", ""), what: Any = "") -> None:
    """Sum, sum of magnitudes, and entries 0 and 17 of a gradient against the printed ones."""
    grad = np.asarray(grad).ravel()
    got = (grad.sum(), np.abs(grad).sum(), grad[0], grad[17])
    for number, printed, name in zip(got, (*sums, *entries), ("sum", "sum |.|", "[0]", "[17]"), strict=True):
        check(float(number), printed, f"{what} gradient {name}")
