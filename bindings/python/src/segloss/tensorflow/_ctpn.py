"""CTPN's loss in the form of the published TensorFlow code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from .. import CTPNLoss, _framework, ctpn_anchor_targets
from ._functions import evaluate


def anchor_target_layer(
    cls_pred: Any, bbox: Any, im_info: Any, scope_name: str | None = None, *, seed: Any = np.random, **options: Any
) -> Any:
    """What `segloss.ctpn_anchor_targets` makes of the boxes of an image, as tensors; Python runs it, as upstream.

    Parameters
    ----------
    cls_pred : 1 x H x W x ...
        Only its shape is read.
    bbox : n x 4 or n x 5
        Boxes of the image.
    im_info : 1 x 3 or 3
        Height, width and scale of the image.
    scope_name : str, optional
        Of the operations.
    seed : default numpy's global generator, keyword only
        What draws the batch of anchors, as in `segloss.ctpn_anchor_targets`.
    **options
        Its others.

    Returns
    -------
    list of tf.Tensor
        ``rpn_labels`` (int32, 1 x H x W x A), ``rpn_bbox_targets``, ``rpn_bbox_inside_weights`` and
        ``rpn_bbox_outside_weights`` (float32, 1 x H x W x 4A). They carry no gradient.
    """

    def targets(shape: Any, boxes: Any, image: Any) -> Any:
        found = ctpn_anchor_targets(boxes, np.reshape(image, -1)[:2], shape[1:3], seed=seed, **options)
        return found[:4]

    with tf.name_scope(scope_name or "anchor_target_layer"):
        types = [tf.int32, tf.float32, tf.float32, tf.float32]
        found = tf.numpy_function(targets, [tf.shape(cls_pred), bbox, im_info], types)
    extents = [1, *tf.convert_to_tensor(cls_pred).shape[1:3]]
    heights = options.get("heights")
    anchors = 10 if heights is None else len(heights)
    for tensor, columns in zip(found, (anchors, 4 * anchors, 4 * anchors, 4 * anchors)):
        tensor.set_shape([*extents, columns])
    return found


def ctpn_loss(
    bbox_pred: Any,
    cls_pred: Any,
    bbox: Any,
    im_info: Any,
    regularization_losses: Sequence[Any] = (),
    *,
    sigma2: float | None = None,
    variant: str = "published",
    seed: Any = np.random,
    **options: Any,
) -> Any:
    """The loss of the Connectionist Text Proposal Network for an image and its boxes.

    Parameters
    ----------
    bbox_pred : 1 x H x W x 4A
    cls_pred : 1 x H x W x 2A
        Logits; of each anchor background and text.
    bbox : n x 4 or n x 5
        Boxes of the image: x1, y1, x2, y2 in pixels (and a class, not read).
    im_info : 1 x 3 or 3
        Height, width and scale of the image.
    regularization_losses : sequence of tensors
        Added to the total, where TensorFlow 1 took those of a collection: ``model.losses``.
    sigma2, variant : keyword only
        As in `segloss.CTPNLoss`; the variant is also that of the targets.
    seed, **options : keyword only
        As in `anchor_target_layer`.

    Returns
    -------
    total_loss, model_loss, rpn_cross_entropy, rpn_loss_box : tf.Tensor
        ``total_loss`` and ``model_loss`` carry the gradient. The last two are to be looked at and have none.

    Raises
    ------
    ValueError, TypeError, tf.errors.InvalidArgumentError
        Naming the argument, what was expected and what came.

    References
    ----------
    Tian et al. 2016 (arXiv 1609.03605); eragonruan/text-detection-ctpn, branch banjin-dev.
    """
    targets = anchor_target_layer(cls_pred, bbox, im_info, seed=seed, variant=variant, **options)
    losses = evaluate(
        _framework.configured(CTPNLoss, {"sigma2": sigma2, "variant": variant}), (cls_pred, bbox_pred, *targets), {}
    )
    model_loss = losses["loss"]
    total_loss = tf.add_n([*regularization_losses, model_loss])
    return total_loss, model_loss, losses["rpn_cross_entropy"], losses["rpn_loss_box"]
