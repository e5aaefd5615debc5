"""Losses as classes of Keras's."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import LOSSES
from .._loss import ItemLoss
from .._loss import Loss as Core
from . import _functions

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"segloss.tensorflow: Keras runs on the backend {keras.backend.backend()!r} in this process; set "
        "KERAS_BACKEND=tensorflow before Keras is imported"
    )

# One number stands for the batch in these reductions.
_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


class _Reduction(keras.losses.Loss):
    """Keras's own reduction and weights, of values that are there."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return y_pred


class Loss(keras.losses.Loss):
    """What the classes of this module have in common.

    Parameters
    ----------
    *arguments, **options
        Those of the class of this name in `segloss`.
    per_sample : bool, default False
        The loss of each sample by itself, on which Keras's reduction and ``sample_weight`` act. False: the loss of the
        batch, one number, as published.
    reduction : str, default "sum_over_batch_size"
        Keras's. Of a batch's one number the means are that number; "sum" and "none" are `segloss`'s own reductions.
    name : str, optional
    dtype : optional
        What ``y_pred`` is cast to; by default it is read as it comes.
    """

    _core: type[Core]

    def __init__(
        self,
        *arguments: Any,
        per_sample: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(name=name or self._core._description.name + "_loss", reduction=reduction, dtype=dtype)
        self._options = _named(self._core, arguments, options)
        if self._options.get("return_parts") or self._options.get("return_origin"):
            raise ValueError(
                f"{type(self).__name__}: expected options of one number, got return_parts or return_origin; the "
                f"function {self._core._description.name}_loss returns them"
            )
        self._own_dtype = dtype
        self.per_sample = bool(per_sample)
        reduced: dict[str, Any] = {}
        if not self.per_sample and reduction not in _MEANS:
            if not issubclass(self._core, ItemLoss):
                raise ValueError(
                    f"reduction: expected {', '.join(map(repr, _MEANS))} for the one number of {type(self).__name__}, "
                    f"got {reduction!r}; per_sample=True gives a number for each sample"
                )
            reduced["reduction"] = reduction or "none"
        self._loss = self._core(**self._options, **reduced)
        if self.per_sample:
            self._reduction = _Reduction(reduction=reduction, name=self.name, dtype=dtype)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, **arrays: Any) -> Any:
        """The loss, reduced.

        Parameters
        ----------
        y_true, y_pred : tensors
            Channels last. Where the loss takes more than a prediction and a target, tuples in its order, or dicts.
        sample_weight : optional
            Keras's, with ``per_sample=True`` only.
        **arrays
            What the loss takes by name, such as ``mask``.
        """
        if not self.per_sample:
            if sample_weight is not None:
                raise ValueError(
                    f"sample_weight: {type(self).__name__} is one number of the whole batch, which no weights of "
                    "samples fit; per_sample=True gives the loss of each sample, and they act on those"
                )
            return self.call(y_true, y_pred, **arrays)
        values = self.call(y_true, y_pred, **arrays)
        return self._reduction(values, values, sample_weight)

    def call(self, y_true: Any, y_pred: Any, **arrays: Any) -> Any:
        """The loss of the batch, or with ``per_sample`` of each sample; before Keras's reduction."""
        if self._own_dtype is not None:
            y_pred = tf.nest.map_structure(lambda y: tf.cast(y, self.dtype), y_pred)
        if _functions.is_pair(self._core):
            return _functions.value(self._loss, (y_pred, y_true), arrays, self.per_sample)
        inputs: list[Any] = []
        for given in (y_pred, y_true):
            if isinstance(given, dict):
                arrays |= given
            else:
                inputs += given if isinstance(given, (list, tuple)) else [given]
        return _functions.value(self._loss, inputs, arrays, self.per_sample)

    def get_config(self) -> Any:
        config = {**super().get_config(), "per_sample": self.per_sample}
        if self._own_dtype is not None:
            config["dtype"] = self.dtype
        return config | {name: _plain(value) for name, value in self._options.items()}


def _named(core: type[Core], arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor by their names, and not those that it makes up."""
    signature = inspect.signature(core.__init__)
    named = dict(signature.bind(None, *arguments, **options).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= named.pop(parameter.name, {})
    del named["self"]
    return named


def _plain(value: Any) -> Any:
    """An option in types that JSON has."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _class(core: type[Core]) -> type[Loss]:
    order = list(_functions.call_parameters(core))
    if _functions.is_pair(core):
        call = f"``y_pred`` is its ``{order[0]}`` and ``y_true`` its ``{order[1]}``"
    else:
        call = f"``y_pred`` and ``y_true`` are tuples or dicts of its ``{', '.join(order)}``"
    doc = f"""Keras's form of `segloss.{core.__name__}`: ``(y_true, y_pred)``, channels last.

    {call}, with channels in the last dimension. Options
    are those of `segloss.{core.__name__}`, then Keras's own and ``per_sample``: see `segloss.tensorflow.Loss`.
    """
    made = type(core.__name__, (Loss,), {"_core": core, "__doc__": doc, "__module__": __package__})
    return keras.saving.register_keras_serializable(package="segloss")(made)


CLASSES = {name: _class(core) for name, core in LOSSES.items()}
