from __future__ import annotations

from typing import Any

from . import _abi, _call
from ._loss import Loss
from ._tensor import View, prediction, view
from .balance import main_loss

# alpha and beta where a variant's user gives none, as the header has them.
_WEIGHTS = {"published": (5.0, 10.0), "wenmuzhou": (1.0, 10.0), "paper": (1.0, 10.0)}


class DBLoss(Loss):
    """The loss of Differentiable Binarization on probability map P, threshold map T and approximate binary map B.

    ``published`` (PaddleOCR): ``alpha·Balance(P) + beta·MaskL1(T) + MaskDice(B)``;
    ``wenmuzhou``: the same with ``Balance`` = cross-entropy with hard negatives and byte weights;
    ``paper``: ``BalanceBCE(P) + beta·MaskL1(T) + alpha·BalanceBCE(B)``.

    Called as ``loss(maps, threshold_map, threshold_mask, shrink_map, shrink_mask)``.

    Parameters
    ----------
    balance_loss : bool, default True
        False: the main loss itself (not with BCELoss, which would be a map).
    main_loss_type : {"DiceLoss", "BCELoss", "MaskL1Loss", "DiceOHEM"}, default "DiceLoss"
        The shrink term's main loss, of the published variant; the others always take BCELoss. With DiceLoss nothing is
        mined (see `BalanceLoss`).
    alpha : float, default 5 (published) or 1
        Weight of the shrink term; of the binary term in the paper's variant.
    beta : float, default 10
        Weight of the threshold term.
    ohem_ratio : float, default 3
        Negatives for each positive.
    eps : float, default 1e-6
        Of the threshold and binary terms. The shrink term has its own, always 1e-6, as upstream.
    variant : {"published", "wenmuzhou", "paper"}, keyword only
    step_k : float, default 50, keyword only
        The paper's variant evaluates its binary term from logits ``step_k·(P - T)``, where B would saturate: B is not
        read, its gradient is 0, and those of P and T get the share. 0 reads B as a probability instead.
    fallback_negative_num : int, default 0, keyword only
        Negatives to take where the batch has no positive (mmocr).
    non_finite : {"propagate", "refuse", "skip_masked"}, keyword only
        What NaN and infinity do: the formula's result, ValueError, or nothing where a map's mask is exactly 0.
        Predictions outside [0, 1], NaN among them, are always refused where a cross-entropy reads them: in "BCELoss",
        "wenmuzhou" and "paper".
    return_parts : bool, default False, keyword only
        Also return how many pixels counted: see below.

    Inputs
    ------
    maps : N x 3 x H x W probabilities P, T, B (``wenmuzhou`` also N x 2 x H x W: the shrink term alone, without alpha);
        float32, float64, float16 or bfloat16
    threshold_map, threshold_mask, shrink_map, shrink_mask : N x H x W; also bool, uint8, int32, int64

    Returns
    -------
    dict
        ``loss``, ``loss_shrink_maps``, ``loss_threshold_maps``, ``loss_binary_maps``, each part with its weight.
        ``value_and_grad`` gives that and one gradient of ``maps``' shape and type. With ``return_parts=True`` also
        ``positives``, ``negatives`` (P and K of the shrink term) and ``threshold_count``.

    Notes
    -----
    A batch without text gives shrink 0, threshold 0 and binary 1, with zero gradients, as upstream.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came.

    References
    ----------
    Liao et al. 2020 (arXiv 1911.08947), section 3.5; PaddleOCR ``DBLoss``; WenmuZhou/DBNet.pytorch ``DBLoss``.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.full((1, 3, 4, 4), 0.5, np.float32)
    >>> text = np.zeros((1, 4, 4), np.uint8); text[:, 1:3, 1:3] = 1
    >>> ones = np.ones_like(text)
    >>> losses, grad = DBLoss().value_and_grad(maps, 0.3 + 0.4 * text, text, text, ones)
    >>> round(losses["loss_threshold_maps"], 4), grad.shape
    (2.0, (1, 3, 4, 4))
    """

    _description = _abi.DB
    _names = {
        "prob": "maps[:, 0]",
        "thresh": "maps[:, 1]",
        "binary": "maps[:, 2]",
        "grad_prob": "out[:, 0]",
        "grad_thresh": "out[:, 1]",
        "grad_binary": "out[:, 2]",
    }
    _returned = ("loss", "loss_shrink_maps", "loss_threshold_maps", "loss_binary_maps")

    def __init__(
        self,
        balance_loss: bool = True,
        main_loss_type: str = "DiceLoss",
        alpha: float | None = None,
        beta: float | None = None,
        ohem_ratio: float = 3,
        eps: float = 1e-6,
        *,
        variant: str = "published",
        step_k: float = 50.0,
        fallback_negative_num: int = 0,
        non_finite: str = "propagate",
        return_parts: bool = False,
    ):
        number = _call.choice("variant", variant, _abi.DB_VARIANT)
        main = main_loss(main_loss_type)
        if variant != "published":
            if main_loss_type not in ("DiceLoss", "BCELoss"):
                raise ValueError(f"main_loss_type: variant {variant!r} has BCELoss, got {main_loss_type!r}")
            main = _abi.MAIN_LOSS["BCELoss"]
        defaults = _WEIGHTS[variant]
        options = _abi.DBOptions(
            variant=number,
            balance_loss=_call.boolean("balance_loss", balance_loss),
            main_loss=main,
            alpha=defaults[0] if alpha is None else _call.number("alpha", alpha),
            beta=defaults[1] if beta is None else _call.number("beta", beta),
            negative_ratio=_call.number("ohem_ratio", ohem_ratio),
            eps=_call.number("eps", eps),
            step_k=_call.number("step_k", step_k),
            fallback_negative_num=_call.count("fallback_negative_num", fallback_negative_num),
        )
        if not balance_loss and main == _abi.MAIN_LOSS["BCELoss"]:
            raise ValueError("balance_loss: without it BCELoss is a map, which cannot be added to the other terms")
        super().__init__(options, non_finite, return_parts)
        self._variant = variant
        if main == _abi.MAIN_LOSS["BCELoss"]:
            self.statistics_add = False
            self.statistics_add_reason = "its hardest negatives are chosen among the whole batch"

    def _channels(self, name: str, maps: Any) -> list[Any]:
        self._count(name, maps.shape)
        channels = [maps.channel(i, n) for i, n in enumerate(self._description.predictions[: maps.shape[1]])]
        return channels if len(channels) == 3 else [channels[0], None, None]

    def _ordered(self, maps: Any, threshold_map: Any, threshold_mask: Any, shrink_map: Any, shrink_mask: Any) -> Any:
        return maps, threshold_map, threshold_mask, shrink_map, shrink_mask

    def _views(self, ordered: Any) -> Any:
        return self._split(prediction("maps", ordered[0]), ordered[1:])

    def _count(self, name: str, shape: tuple[Any, ...], channels_last: bool = False) -> int:
        """How many maps there are."""
        allowed = (2, 3) if self._variant == "wenmuzhou" else (3,)
        count = int(shape[-1 if channels_last else 1]) if len(shape) == 4 else 0
        if count not in allowed:
            layout = "N x H x W x {}" if channels_last else "N x {} x H x W"
            expected = " or ".join(layout.format(c) for c in allowed)
            raise ValueError(f"{name}: expected shape {expected} (P, T, B), got {tuple(shape)}")
        return count

    def _pattern(self, ordered: Any, channels_last: Any) -> Any:
        return super()._pattern(ordered, channels_last), self._count("maps", ordered[0].shape, channels_last)

    def _leading(self, ordered: Any) -> Any:
        return 1

    def _inputs(self, ordered: Any) -> Any:
        return "maps", *self._description.constants

    def _slots(self, ordered: Any, channels_last: Any) -> Any:
        if self._count("maps", ordered[0].shape, channels_last) == 3:
            return [(0, 0), (0, 1), (0, 2), (1, -1), (2, -1), (3, -1), (4, -1)]
        return [(0, 0), (-1, -1), (-1, -1), (-1, -1), (-1, -1), (3, -1), (4, -1)]

    def _statistics(self, shapes: Any) -> Any:
        if shapes[1] is None:
            return _abi.DB_STATISTICS["shrink"]
        return _abi.DB_STATISTICS["paper" if self._variant == "paper" else "published"]

    def _split(self, maps: Any, given: Any) -> Any:
        channels = self._channels("maps", maps)
        shape = maps.shape[:1] + maps.shape[2:]
        labels: list[View | None] = []
        for name, value in zip(self._description.constants, given):
            label = view(name, value)
            if label.shape != shape:
                raise ValueError(f"{name}: expected shape {shape} (maps without channels), got {label.shape}")
            labels.append(label)
        if channels[1] is None:
            labels[0] = labels[1] = None
        return channels + labels

    def value_and_grad(  # type: ignore[override]
        self,
        maps: Any,
        threshold_map: Any,
        threshold_mask: Any,
        shrink_map: Any,
        shrink_mask: Any,
        *,
        out: Any = None,
        grad_output: Any = 1.0,
    ) -> Any:
        inputs = prediction("maps", maps)
        grad, target = _call.output("out", inputs, out)
        if target.dtype != inputs.dtype:
            raise TypeError(f"out: expected element type {inputs.dtype} like maps, got {target.dtype}")
        if target.shape != inputs.shape:
            raise ValueError(f"out: expected shape {inputs.shape} like maps, got {target.shape}")
        views = self._split(inputs, (threshold_map, threshold_mask, shrink_map, shrink_mask))
        targets = self._channels("out", target)
        parts = self._evaluate(self._options, views, targets, grad_output)
        if targets[1] is None:
            grad[:, 1] = 0  # nothing reads the threshold map
        return self._numbers(parts), grad

    value_and_grad.__doc__ = Loss.value_and_grad.__doc__
