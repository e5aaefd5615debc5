"""Other libraries' losses and ours that stand in for them: the tables of Guides/Migrating.md, which this prints.

    pip install --no-deps segmentation-models-pytorch==0.6.0 monai==1.6.1 kornia==0.9.0 kornia_rs
    python migrating.py            # torch's libraries
    python migrating.py keras      # Keras, in a process of its own

Each row is run: value and gradient, in float64 where the library computes in it. `test_migrating.py` runs those whose
library is installed, and holds the guide to the rows.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
from typing import NamedTuple

import numpy as np
import segloss

rng = np.random.default_rng(0)
# Four classes, of which the last is absent; and one, of two thirds background.
x = rng.normal(size=(2, 4, 16, 16))
labels = rng.integers(0, 3, (2, 16, 16))
y = np.eye(4)[labels].transpose(0, 3, 1, 2)
one = rng.normal(size=(2, 1, 16, 16))
mask = (rng.random((2, 1, 16, 16)) < 0.3).astype(np.float64)
probability = 1 / (1 + np.exp(-one))
INPUTS = {"x": x, "labels": labels, "y": y, "one": one, "mask": mask, "probability": probability}


class Row(NamedTuple):
    """An expression of the library, one of ours, what ours is called with, and how near they are: of the value, and of the
    gradient's largest entry."""

    there: str
    here: str
    call: str
    tolerance: float = 1e-12


class Library(NamedTuple):
    distribution: str
    version: str
    module: str
    title: str
    rows: list[Row]


MULTI = 'activation="softmax", average="macro"'
TORCH = [
    Library(
        "segmentation-models-pytorch",
        "0.6.0",
        "segmentation_models_pytorch.losses",
        "segmentation-models-pytorch",
        [
            Row('DiceLoss("binary")(one, mask)', 'DiceLoss(smooth=0, absent="zero")', "one, mask"),
            Row('DiceLoss("binary", smooth=1)(one, mask)', 'DiceLoss(smooth=2, absent="zero")', "one, mask"),
            Row('DiceLoss("multiclass")(x, labels)', f'DiceLoss(smooth=0, absent="zero", {MULTI})', "x, labels"),
            Row('DiceLoss("multilabel")(x, y)', 'DiceLoss(smooth=0, absent="zero", average="macro")', "x, y"),
            Row('JaccardLoss("binary")(one, mask)', 'IoULoss(smooth=0, absent="zero")', "one, mask"),
            Row('JaccardLoss("multiclass")(x, labels)', f'IoULoss(smooth=0, absent="zero", {MULTI})', "x, labels"),
            Row(
                'TverskyLoss("multiclass", alpha=0.3, beta=0.7)(x, labels)',
                f'TverskyLoss(alpha=0.3, beta=0.7, smooth=0, absent="zero", {MULTI})',
                "x, labels",
            ),
            Row(
                'TverskyLoss("binary", alpha=0.3, beta=0.7, gamma=0.75)(one, mask)',
                'FocalTverskyLoss(alpha=0.3, beta=0.7, gamma=0.75, smooth=0, absent="zero")',
                "one, mask",
            ),
            Row('FocalLoss("binary")(one, mask)', 'FocalLoss(variant="paper", alpha=-1)', "one, mask"),
            Row('FocalLoss("binary", alpha=0.25)(one, mask)', 'FocalLoss(variant="paper", alpha=0.25)', "one, mask"),
            Row('FocalLoss("multiclass")(x, labels)', 'FocalLoss(variant="paper", alpha=-1)', "x, labels"),
            Row("SoftBCEWithLogitsLoss()(one, mask)", "BCELoss()", "one, mask"),
            Row(
                "SoftCrossEntropyLoss(smooth_factor=0.1)(x, labels)",
                "CrossEntropyLoss(label_smoothing=0.1)",
                "x, labels",
            ),
        ],
    ),
    Library(
        "monai",
        "1.6.1",
        "monai.losses",
        "MONAI",
        [
            Row("DiceLoss(sigmoid=True)(one, mask)", "DiceLoss(smooth=1e-5, per_sample=True)", "one, mask"),
            Row(
                "DiceLoss(softmax=True, to_onehot_y=True)(x, labels[:, None])",
                f"DiceLoss(smooth=1e-5, per_sample=True, {MULTI})",
                "x, labels",
            ),
            Row(
                "DiceLoss(softmax=True, to_onehot_y=True, batch=True)(x, labels[:, None])",
                f"DiceLoss(smooth=1e-5, {MULTI})",
                "x, labels",
            ),
            Row(
                "DiceLoss(softmax=True, to_onehot_y=True, include_background=False)(x, labels[:, None])",
                f"DiceLoss(smooth=1e-5, per_sample=True, classes=[1, 2, 3], {MULTI})",
                "x, labels",
            ),
            Row(
                "DiceLoss(softmax=True, to_onehot_y=True, jaccard=True)(x, labels[:, None])",
                f"IoULoss(smooth=5e-6, per_sample=True, {MULTI})",
                "x, labels",
            ),
            Row(
                "TverskyLoss(softmax=True, to_onehot_y=True, alpha=0.3, beta=0.7)(x, labels[:, None])",
                f"TverskyLoss(alpha=0.3, beta=0.7, smooth=1e-5, per_sample=True, {MULTI})",
                "x, labels",
            ),
            # MONAI's logarithm of the sigmoid has a float32 in it.
            Row("FocalLoss()(one, mask)", 'FocalLoss(variant="paper", alpha=-1)', "one, mask", 1e-6),
            Row("FocalLoss(alpha=0.25)(one, mask)", 'FocalLoss(variant="paper", alpha=0.25)', "one, mask", 1e-6),
        ],
    ),
    Library(
        "kornia",
        "0.9.0",
        "kornia.losses",
        "kornia",
        [
            Row(
                'dice_loss(x, labels, average="micro")',
                'DiceLoss(smooth=0, per_sample=True, activation="softmax")',
                "x, labels",
                # kornia adds 1e-8 below.
                1e-9,
            ),
            Row(
                'dice_loss(x, labels, average="macro")',
                f'DiceLoss(smooth=0, per_sample=True, absent="skip", {MULTI})',
                "x, labels",
                1e-9,
            ),
            Row(
                "tversky_loss(x, labels, alpha=0.3, beta=0.7)",
                f'TverskyLoss(alpha=0.3, beta=0.7, smooth=0, per_sample=True, absent="skip", {MULTI})',
                "x, labels",
                1e-9,
            ),
            Row(
                'binary_focal_loss_with_logits(one, mask, alpha=0.25, reduction="mean")',
                'FocalLoss(variant="paper")',
                "one, mask",
            ),
        ],
    ),
]
KERAS = Library(
    "keras",
    "3.15.1",
    "keras.losses",
    "Keras",
    [
        Row("Dice()(mask, probability)", "MaskDiceLoss(eps=1e-7)", "probability, mask, np.ones_like(mask)"),
        # Keras adds 1e-7 below; and its alpha is the price of what others call false negatives, since it takes the target
        # for the prediction.
        Row(
            "Tversky(alpha=0.3, beta=0.7)(mask, probability)",
            "TverskyLoss(alpha=0.7, beta=0.3, smooth=0, from_logits=False)",
            "probability, mask",
            1e-9,
        ),
        Row("BinaryCrossentropy(from_logits=True)(mask, one)", "BCELoss()", "one, mask"),
        Row("BinaryCrossentropy()(mask, probability)", "BCELoss(from_logits=False)", "probability, mask"),
        Row(
            "BinaryFocalCrossentropy(from_logits=True)(mask, one)",
            'FocalLoss(variant="paper", alpha=-1)',
            "one, mask",
        ),
        Row(
            "BinaryFocalCrossentropy(from_logits=True, apply_class_balancing=True)(mask, one)",
            'FocalLoss(variant="paper")',
            "one, mask",
        ),
        Row(
            "SparseCategoricalCrossentropy(from_logits=True)(labels, ops.moveaxis(x, 1, -1))",
            "CrossEntropyLoss()",
            "x, labels",
        ),
    ],
)
LIBRARIES = [*TORCH, KERAS]


def losses_of(module: str) -> dict:
    """The names of a package's losses."""
    top = module.partition(".")[0]
    if top == "segmentation_models_pytorch" and top not in sys.modules:
        # Its models want torchvision and timm, its losses torch alone: the package is there without being run.
        sys.modules[top] = importlib.util.module_from_spec(importlib.util.find_spec(top))
    return vars(importlib.import_module(module))


def there_torch(library: Library, row: Row):
    import torch

    arrays = {name: torch.from_numpy(array.copy()) for name, array in INPUTS.items()}
    prediction = arrays[row.call.split(",")[0]].requires_grad_()
    value = eval(row.there, {**losses_of(library.module), **arrays})
    value.backward()
    return value.item(), prediction.grad.numpy()


def there_keras(library: Library, row: Row):
    import keras
    import tensorflow as tf

    keras.config.set_floatx("float64")
    arrays = {name: tf.constant(array) for name, array in INPUTS.items()}
    prediction = arrays[row.call.split(",")[0]]
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        value = eval(row.there, {**vars(keras.losses), "ops": keras.ops, **arrays})
    return float(value), tape.gradient(value, prediction).numpy()


def differences(library: Library, row: Row) -> tuple[float, float]:
    """Of the value, and of the gradient as a share of its largest entry."""
    there = there_keras if library.distribution == "keras" else there_torch
    value, gradient = there(library, row)
    inputs = eval(f"({row.call},)", {**INPUTS, "np": np})
    ours, own = eval(row.here, {**segloss.LOSSES}).value_and_grad(*inputs)
    return abs(ours - value) / abs(value), float(abs(own - gradient).max() / abs(gradient).max())


def is_installed(library: Library) -> bool:
    """In the version that the rows are of."""
    if importlib.util.find_spec(library.module.partition(".")[0]) is None:
        return False
    return importlib.metadata.version(library.distribution) == library.version


def table(library: Library) -> str:
    """The library's table in the guide."""
    lines = [f"| {library.title} {library.version} | segloss | agree to |", "|---|---|---|"]
    lines += [f"| `{row.there}` | `{row.here}` | {row.tolerance:.0e} |".replace("e-0", "e-") for row in library.rows]
    return "\n".join(lines) + "\n"


def main(chosen: list[Library]) -> int:
    failed = 0
    for library in chosen:
        print(table(library))
        if not is_installed(library):
            print(f"NOT RUN: {library.distribution} {library.version} is not installed\n")
            continue
        for row in library.rows:
            value, gradient = differences(library, row)
            verdict = "ok" if max(value, gradient) <= row.tolerance else "TOO FAR"
            failed += verdict != "ok"
            print(f"{verdict}: value {value:.1e}, gradient {gradient:.1e}: {row.there}")
        print()
    return failed


if __name__ == "__main__":
    sys.exit(main([KERAS] if "keras" in sys.argv else TORCH))
