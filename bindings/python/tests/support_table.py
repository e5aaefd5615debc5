"""The README's table of what there is, from the package itself: `python support_table.py` prints it."""

import segloss
from segloss._command import names

GUIDES = {"L1BalanceCELoss": "DB"}
FACES = ("numpy", "torch", "paddle", "tensorflow", "jax")


def row(name: str) -> str:
    cls = segloss.LOSSES[name]
    guide = GUIDES.get(name, name.removesuffix("Loss"))
    variants = ", ".join(f"`{v}`" for options in names.variants(cls) for v in options.values()) or "published"
    summary = names.sections(cls)[""].splitlines()[0].rstrip(".")
    return f"| [`{name}`](Guides/{guide}.md) | {summary} | {variants} |{' ● |' * len(FACES)}"


def table() -> str:
    head = "| loss | | variants, the default first | numpy, C | PyTorch | Paddle | TF, Keras | JAX |"
    return "\n".join([head, "|---" * 8 + "|", *map(row, segloss.LOSSES)]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
