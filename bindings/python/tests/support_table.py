"""The README's table of what there is, from the package itself: `python support_table.py` prints it."""

import segloss
from segloss import _tensor
from segloss._command import names

GUIDES = {"L1BalanceCELoss": "DB"}
FACES = ("numpy", "torch", "paddle", "tensorflow", "jax")
PREDICTIONS = " ".join(
    name.replace("bfloat", "bf").replace("float", "f")
    for name, codes in _tensor._CODES.items()
    if codes in _tensor._FLOATING
)


def row(name: str) -> str:
    cls = segloss.LOSSES[name]
    guide = GUIDES.get(name, name.removesuffix("Loss"))
    variants = ", ".join(f"`{v}`" for options in names.variants(cls) for v in options.values()) or "published"
    summary = names.sections(cls)[""].splitlines()[0].rstrip(".")
    return f"| [`{name}`](Guides/{guide}.md) | {summary} | {variants} | {PREDICTIONS} |{' ● |' * len(FACES)}"


def table() -> str:
    head = "| loss | | variants, the default first | predictions | numpy, C | PyTorch | Paddle | TF, Keras | JAX |"
    return "\n".join([head, "|---" * 9 + "|", *map(row, segloss.LOSSES)]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
