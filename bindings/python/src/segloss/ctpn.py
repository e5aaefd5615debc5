from __future__ import annotations

from typing import Any

from . import _abi, _call
from ._loss import Loss

# What a variant's user means by None.
_SIGMA2 = {"published": 9.0, "paper": 1.0}
_NON_FINITE = {"published": "propagate", "paper": "skip_masked"}


class CTPNLoss(Loss):
    """The loss of the Connectionist Text Proposal Network on its anchors.

    ``L = Ls + Lv + Lo`` over the anchors that are kept, those whose label is not -1 (N of them, F with label 1):
    ``Ls = Σ cross-entropy / N``; ``Lv = lambda1·Σ ow·φ(iw·(box - target)) / (F + 1)``;
    ``Lo = lambda2·Σ side_mask·φ(side - side_target) / max(Σ side_mask, 1)``, 0 where no side is given.
    φ is smooth L1: ``sigma2·d²/2`` where ``|d| < 1/sigma2``, else ``|d| - 1/(2·sigma2)``.

    Called as ``loss(cls, box, rpn_labels, rpn_bbox_targets, rpn_bbox_inside_weights, rpn_bbox_outside_weights,
    side=None, side_targets=None, side_mask=None)``; `ctpn_anchor_targets` makes the targets and weights.

    Parameters
    ----------
    sigma2 : float, default 9 (published) or 1 (paper), keyword only
        σ², so that the published code has σ = 3.
    variant : {"published", "paper"}, keyword only
        ``paper``: ``Lv`` is divided by ``max(F, 1)``.
    lambda1, lambda2 : float, default 1 and 2, keyword only
        Weights of Lv and Lo.
    non_finite : {"propagate", "refuse", "skip_masked"}, default "propagate" (published) or "skip_masked" (paper)
        What NaN and infinity do on kept anchors: the formula's result (0·NaN is NaN on a negative whose target is NaN,
        as upstream), ValueError (whatever the label), or nothing where an offset's weight is exactly 0. Keyword only.
        An infinite offset gives inf, an infinite score inf or NaN, as BCE of logits.
    return_parts : bool, default False, keyword only
        Also return ``kept``, ``positives`` (N and F) and ``sides`` (Σ side_mask).

    Inputs
    ------
    cls, box, side
        Predictions of one type: float32, float64, float16 or bfloat16. In one of three layouts, A anchors in each of
        H x W places:

        ========  ======  ===============  ===============
        ..        rows    maps             heads
        ========  ======  ===============  ===============
        cls       n x 2   1 x H x W x A·2  1 x A·2 x H x W
        box       n x 4   1 x H x W x A·4  1 x A·2 x H x W
        side      n       1 x H x W x A    1 x A x H x W
        ========  ======  ===============  ===============

        cls is (background, text), box (dx, dy, dw, dh). Heads are a convolution's output: box holds dy and dh alone,
        and of the channels those of an anchor are neighbours, (anchor, number) as maps have it. Maps and heads may hold
        several images, whose anchors then count as those of one.
    rpn_labels, side_targets, side_mask : n or 1 x H x W x A
        Any type. Labels are -1 (ignored), 0 or 1.
    rpn_bbox_targets, rpn_bbox_inside_weights, rpn_bbox_outside_weights : n x 4 or 1 x H x W x A·4, for heads too
        Any type.

    Returns
    -------
    dict
        ``loss``, ``model_loss`` (Ls + Lv, what the published code optimises), ``rpn_cross_entropy``, ``rpn_loss_box``,
        ``rpn_loss_side``, each part with its weight. ``value_and_grad`` gives that and the gradients of ``cls``,
        ``box`` and, if given, ``side``, in their layouts.

    Notes
    -----
    Nothing kept: 0 with zero gradients, where upstream has NaN; ``kept`` says so. An ignored anchor contributes
    nothing, whatever stands there. The published code has no Lo, and adds its network's weight decay, which is not a
    loss of ours.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what came; also for labels other than -1, 0 and 1.

    References
    ----------
    Tian et al. 2016 (arXiv 1609.03605), section 3.4; eragonruan/text-detection-ctpn, branch banjin-dev.

    Examples
    --------
    >>> import numpy as np
    >>> cls = np.array([[0.0, 2.0], [1.0, 0.0], [5.0, -5.0]])
    >>> box = np.zeros((3, 4))
    >>> targets = np.array([[0.1, 0.2, 0.0, -0.3]] * 3)
    >>> weights = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])  # inside: dy and dh, of the text anchor
    >>> losses, (grad_cls, grad_box) = CTPNLoss().value_and_grad(
    ...     cls, box, np.array([1, 0, -1]), targets, weights, weights)
    >>> round(losses["rpn_cross_entropy"], 6), round(losses["rpn_loss_box"], 6)
    (0.220095, 0.194444)
    >>> grad_box[0, 1::2]
    array([-0.5,  0.5])
    """

    _description = _abi.CTPN
    _names = {"grad_cls": "out[0]", "grad_box": "out[1]", "grad_side": "out[2]"}
    _returned = ("loss", "model_loss", "rpn_cross_entropy", "rpn_loss_box", "rpn_loss_side")

    def __init__(
        self,
        *,
        sigma2: float | None = None,
        variant: str = "published",
        lambda1: float = 1.0,
        lambda2: float = 2.0,
        non_finite: str | None = None,
        return_parts: bool = False,
    ):
        number = _call.choice("variant", variant, _abi.CTPN_VARIANT)
        options = _abi.CTPNOptions(
            variant=number,
            sigma2=_SIGMA2[variant] if sigma2 is None else _call.number("sigma2", sigma2),
            lambda1=_call.number("lambda1", lambda1),
            lambda2=_call.number("lambda2", lambda2),
        )
        if options.sigma2 <= 0:
            raise ValueError(f"sigma2: expected a number above 0, got {options.sigma2}")
        super().__init__(options, _NON_FINITE[variant] if non_finite is None else non_finite, return_parts)

    _optional = ("side", "side_targets", "side_mask")

    def _ordered(
        self,
        cls: Any,
        box: Any,
        rpn_labels: Any,
        rpn_bbox_targets: Any,
        rpn_bbox_inside_weights: Any,
        rpn_bbox_outside_weights: Any,
        side: Any = None,
        side_targets: Any = None,
        side_mask: Any = None,
    ) -> Any:
        sides = {"side": side, "side_targets": side_targets, "side_mask": side_mask}
        missing = [name for name, value in sides.items() if value is None]
        if len(missing) in (1, 2):
            raise ValueError(f"{missing[0]}: expected side, side_targets and side_mask, or none of them; got None")
        return (
            cls,
            box,
            side,
            rpn_labels,
            rpn_bbox_targets,
            rpn_bbox_inside_weights,
            rpn_bbox_outside_weights,
            side_targets,
            side_mask,
        )

    # Its layouts say themselves where the numbers of an anchor are.
    _moves_channels = False

    def _outputs(self, views: Any, out: Any) -> Any:
        given = [v for v in views[:3] if v is not None]
        if out is None:
            out = [None] * len(given)
        elif not isinstance(out, (tuple, list)) or len(out) != len(given):
            raise ValueError(f"out: expected a tuple of {len(given)} arrays, got {type(out).__name__}")
        pairs = [_call.output(f"out[{i}]", v, o) for i, (v, o) in enumerate(zip(given, out))]
        targets = [target for _, target in pairs]
        return tuple(grad for grad, _ in pairs), targets + [None] * (3 - len(targets))
