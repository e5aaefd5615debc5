"""What every loss does with numbers that are none, and with those outside of their range (design, section 5).

`POLICY` says what comes of one such number in a prediction, at a pixel that counts and whose target is 0; the guide
Trust.md shows the same table. Under "propagate" NaN gives NaN, and nothing but the formula decides the rest;
cross-entropies of probabilities refuse whatever lies outside [0, 1], as upstream does. Under "refuse" all three are refused, in
every loss. Labels that name no class are refused in every loss and under every policy.
"""

from dataclasses import dataclass

import numpy as np

NOT_FINITE = {"NaN": np.nan, "+inf": np.inf, "-inf": -np.inf}


@dataclass(frozen=True)
class Row:
    """What the loss is, for a prediction of NaN, +inf and -inf; and of 2 and -1, where they are no probabilities."""

    nan: str
    plus: str
    minus: str
    outside: str

    def __getitem__(self, value):
        return {"NaN": self.nan, "+inf": self.plus, "-inf": self.minus}.get(value, self.outside)


SIGMOID = Row("NaN", "finite", "finite", "finite")  # saturates
SOFTMAX = Row("NaN", "NaN", "finite", "finite")  # inf - inf
ENTROPY = Row("NaN", "inf", "NaN", "finite")  # of logits: as PyTorch has it, 0 * inf included
CLASSES = Row("NaN", "inf", "finite", "finite")  # cross-entropy where another class is the target
REFUSED = Row("refused", "refused", "refused", "refused")
RATIO = Row("NaN", "NaN", "NaN", "finite")  # inf / inf; 2 and -1 are numbers like others
DISTANCE = Row("NaN", "inf", "inf", "finite")

# By a case's name, or the beginning of it; the longest fits. Of several predictions each has its own.
POLICY = {
    "mask-dice": RATIO,
    "mask-l1": DISTANCE,
    "balance-dice": RATIO,
    "balance-l1": DISTANCE,
    "balance-bce": REFUSED,
    "balance-map": REFUSED,
    "balance-ohem": RATIO,
    "db": RATIO,
    "db-bce": REFUSED,
    "db-l1": DISTANCE,
    "db-wenmuzhou": REFUSED,
    "db-paper": REFUSED,
    "l1-balance-ce": {"binary": REFUSED, "thresh": DISTANCE, "thresh_binary": RATIO},
    "dice": SIGMOID,
    "dice-softmax": SOFTMAX,
    "dice-probabilities": RATIO,
    "dice-bce": ENTROPY,
    "dice-bce-probabilities": REFUSED,
    "iou": SIGMOID,
    "tversky": SIGMOID,
    "tversky-softmax": SOFTMAX,
    "focal-tversky": SIGMOID,
    "focal-tversky-softmax": SOFTMAX,
    "bce": ENTROPY,
    "bce-probabilities": REFUSED,
    "bce-paddle": REFUSED,
    "focal": ENTROPY,
    "focal-probabilities": REFUSED,
    "smooth-l1": DISTANCE,
    "cross-entropy": CLASSES,
    "cross-entropy-smoothed": Row("NaN", "NaN", "inf", "finite"),  # every class is a little of a target
    "structure": ENTROPY,
    "contour": RATIO,
    "contour-logits": SIGMOID,
    "contour-aligned-logits": SIGMOID,
    "boundary": SOFTMAX,
    "ctpn": {"cls": ENTROPY, "box": DISTANCE, "side": DISTANCE},
}


def of(case, prediction):
    """A case's row."""
    row = POLICY[max((name for name in POLICY if case == name or case.startswith(name + "-")), key=len)]
    return row[prediction] if isinstance(row, dict) else row


def counted(case, inputs):
    """The inputs with nothing masked or ignored, and all targets 0 but the first."""

    def change(name, value):
        if "weight" in name or "mask" in name and not case.startswith("structure"):
            return np.ones_like(value)
        if name == "labels":  # without classes there is no boundary, but class 1 is ignored in some
            return np.where(value == 1, 2, value)
        if name in ("gt", "target", "mask", "rpn_labels", "shrink_map"):
            value = np.zeros_like(value)
            if case == "cross-entropy-dense":
                value[:, 0] = 1
            value.flat[0] = 1
        return value

    return {name: change(name, value) for name, value in inputs.items()}


def poisoned(inputs, prediction, number):
    """One element of a prediction set to a number: in the middle, of the last class, of the first map, of a text score."""

    def change(array):
        array = array.copy()
        place = [n // 2 for n in array.shape]
        if prediction == "cls":  # channels are pairs of background and text, the last dimension or those of heads
            place[1 if array.ndim == 4 and array.shape[1] == 6 else -1] |= 1
        elif array.ndim == 4:
            place[1] = 0 if prediction == "maps" else array.shape[1] - 1
        array[tuple(place)] = number
        return array

    value = inputs[prediction]
    return {**inputs, prediction: [change(value[0]), *value[1:]] if isinstance(value, list) else change(value)}


def outcome(loss):
    """ "finite", "inf" or "NaN": the worst that is there."""
    loss = np.asarray(loss, np.float64)
    return "NaN" if np.isnan(loss).any() else "finite" if np.isfinite(loss).all() else "inf"


def table():
    """The table of the guide: a row for each kind, with the cases that it is of."""
    rows = {}
    for name, kinds in POLICY.items():
        for argument, row in kinds.items() if isinstance(kinds, dict) else [("", kinds)]:
            rows.setdefault(row, []).append(f"{name} {argument}".strip())
    head = ["| of a prediction | NaN | +∞ | −∞ | 2, −1 |", "|---|---|---|---|---|"]
    cells = [(", ".join(names), row.nan, row.plus, row.minus, row.outside) for row, names in rows.items()]
    return "\n".join(head + [f"| {' | '.join(line)} |" for line in cells])


if __name__ == "__main__":
    print(table())
