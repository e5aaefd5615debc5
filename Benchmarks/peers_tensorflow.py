"""TensorFlow in a tf.function: the losses out of its own operations; and segloss.tensorflow beside them.

Channels are last, as they are in TensorFlow. Keras's `Dice` and `Tversky` are the same sums, smoothed by 1e-7.
"""

from __future__ import annotations

import functools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import segloss.tensorflow
import tensorflow as tf

NAME = "tensorflow"
SETTLE = 0.01
# Its sums over all but the last dimension add in float32, one number after the other: over two million pixels scores of
# classes are 0.12 % off, and gradients 7e-4. In float64 it is within 1e-13.
TOLERANCE = {"tf.function": (2e-3, 1e-3)}


def versions() -> dict[str, str]:
    return {"tensorflow": tf.__version__}


def start(threads: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


# ---- The losses, by case ---------------------------------------------------------------------------------------------

_sum, _mean = tf.reduce_sum, tf.reduce_mean


def _bce(x, y):
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x)


def _bce_of_probabilities(p, y):
    return -(y * tf.maximum(tf.math.log(p), -100.0) + (1 - y) * tf.maximum(tf.math.log1p(-p), -100.0))


def _mask_dice(p, g, m, eps=1e-6):
    return 1 - 2 * _sum(p * g * m) / (_sum(p * m) + _sum(g * m) + eps)


def _mask_l1(p, g, m, eps=1e-6):
    return _sum(tf.abs(p - g) * m) / (_sum(m) + eps)


def _balance(loss, positive, negative, ratio=3, eps=1e-6):
    positives = tf.floor(_sum(positive))
    count = tf.minimum(tf.floor(_sum(negative)), tf.floor(positives * ratio))
    hardest = tf.math.top_k(tf.reshape(negative * loss, [-1]), tf.cast(count, tf.int32)).values
    return (_sum(positive * loss) + _sum(hardest)) / (positives + count + eps)


def _balanced(p, g, m):
    return _balance(_bce_of_probabilities(p, g), g * m, (1 - g) * m)


def _db(maps, threshold_map, threshold_mask, shrink_map, shrink_mask, *, main):
    p, t, b = tf.unstack(maps, axis=-1)
    if main == "dice":
        loss = _mask_dice(p, shrink_map, shrink_mask)
    else:
        loss = _bce_of_probabilities(p, shrink_map)
    return (
        5 * _balance(loss, shrink_map * shrink_mask, (1 - shrink_map) * shrink_mask)
        + 10 * _mask_l1(t, threshold_map, threshold_mask)
        + _mask_dice(b, shrink_map, shrink_mask)
    )


def _dice(x, y, smooth=1):
    p = tf.sigmoid(x)
    return 1 - (2 * _sum(p * y) + smooth) / (_sum(p) + _sum(y) + smooth)


def _iou(x, y, smooth=1):
    p = tf.sigmoid(x)
    both = _sum(p * y)
    return 1 - (both + smooth) / (_sum(p + y) - both + smooth)


def _tversky(x, y, alpha, beta, gamma=1, smooth=1):
    p = tf.sigmoid(x)
    both = _sum(p * y)
    wrong = alpha * _sum(p * (1 - y)) + beta * _sum((1 - p) * y)
    return (1 - (both + smooth) / (both + wrong + smooth)) ** gamma


def _focal(x, y, alpha=0.25, gamma=2):
    p = tf.sigmoid(x)
    p_t = p * y + (1 - p) * (1 - y)
    return _mean((alpha * y + (1 - alpha) * (1 - y)) * (1 - p_t) ** gamma * _bce(x, y))


def _focal_published(x, y, alpha=0.8, gamma=2):
    bce = _mean(_bce(x, y))
    return alpha * (1 - tf.exp(-bce)) ** gamma * bce


def _cross_entropy(x, labels):
    return _mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x))


def _classes(x, labels, *, alpha=0.5, beta=0.5, smooth=1.0, per_sample=False):
    p = tf.nn.softmax(x)
    y = tf.one_hot(labels, x.shape[-1], dtype=p.dtype)
    space = range(1, x.shape.rank - 1) if per_sample else range(x.shape.rank - 1)
    both = _sum(p * y, space)
    smooth = smooth / 2 if alpha == beta == 0.5 else smooth
    wrong = alpha * (_sum(p, space) - both) + beta * (_sum(y, space) - both)
    return _mean(1 - (both + smooth) / (both + wrong + smooth))


def _structure(pred, mask, mean=_mean):
    # Its "SAME" windows leave the border out of the mean; the published ones count it as zeros.
    padded = tf.pad(mask, [[0, 0], [15, 15], [15, 15], [0, 0]])
    weit = 1 + 5 * tf.abs(tf.nn.avg_pool2d(padded, 31, 1, "VALID") - mask)
    wbce = mean(_bce(pred, mask))
    wbce = _sum(weit * wbce, (1, 2)) / _sum(weit, (1, 2))
    pred = tf.sigmoid(pred)
    inter = _sum(pred * mask * weit, (1, 2))
    union = _sum((pred + mask) * weit, (1, 2))
    return _mean(wbce + 1 - (inter + 1) / (union - inter + 1))


def _contour(p, y, weight=10):
    rows = (p[:, 1:] - p[:, :-1])[:, 1:, :-2] ** 2
    columns = (p[:, :, 1:] - p[:, :, :-1])[:, :-2, 1:] ** 2
    length = _mean(tf.sqrt(tf.abs(rows + columns) + 1e-8))
    return weight * length + _mean(p * (y - 1) ** 2) + _mean((1 - p) * y**2)


def _boundary(logits, labels, theta0=3, theta=5):
    def widened(a, size):
        return tf.nn.max_pool2d(a, size, 1, "SAME")

    p = tf.nn.softmax(logits)
    g = tf.one_hot(labels, p.shape[-1], dtype=p.dtype)
    b_g, b_p = widened(1 - g, theta0) - (1 - g), widened(1 - p, theta0) - (1 - p)
    sums = (1, 2)
    precision = _sum(b_p * widened(b_g, theta), sums) / (_sum(b_p, sums) + 1e-7)
    recall = _sum(widened(b_p, theta) * b_g, sums) / (_sum(b_g, sums) + 1e-7)
    return _mean(1 - 2 * precision * recall / (precision + recall + 1e-7))


def _smooth_l1(x, y):
    d = tf.abs(x - y)
    return _mean(tf.where(d < 1, 0.5 * d * d, d - 0.5))


def _ctpn(cls, box, labels, targets, inside, outside, sigma2=9.0):
    """As its source has it, which is TensorFlow's."""
    labels = tf.reshape(labels, [-1])
    keep = tf.where(labels != -1)[:, 0]
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.gather(labels, keep), logits=tf.gather(tf.reshape(cls, [-1, 2]), keep)
    )
    box, targets, inside, outside = (tf.gather(tf.reshape(t, [-1, 4]), keep) for t in (box, targets, inside, outside))
    d = inside * (box - targets)
    size = tf.abs(d)
    terms = outside * tf.where(size < 1 / sigma2, 0.5 * sigma2 * d * d, size - 0.5 / sigma2)
    return _mean(entropy) + _sum(terms) / (_sum(tf.cast(labels == 1, box.dtype)) + 1)


LOSSES = {
    "db": functools.partial(_db, main="dice"),
    "db-bce": functools.partial(_db, main="bce"),
    "balance": _balanced,
    "mask-dice": _mask_dice,
    "mask-l1": _mask_l1,
    "dice": _dice,
    "iou": _iou,
    "tversky": functools.partial(_tversky, alpha=0.3, beta=0.7),
    "focal-tversky": functools.partial(_tversky, alpha=0.3, beta=0.7, gamma=0.75),
    "dice-bce": lambda x, y: _dice(x, y) + _mean(_bce(x, y)),
    "bce": lambda x, y: _mean(_bce(x, y)),
    "focal": _focal,
    "focal-published": _focal_published,
    "cross-entropy": _cross_entropy,
    "dice-classes": _classes,
    "dice-samples": functools.partial(_classes, smooth=1e-8, per_sample=True),
    "tversky-samples": functools.partial(_classes, alpha=0.3, beta=0.7, smooth=1e-8, per_sample=True),
    "structure": _structure,
    "structure-paper": functools.partial(_structure, mean=lambda bce: bce),
    "contour": _contour,
    "boundary": _boundary,
    "smooth-l1": _smooth_l1,
    "ctpn": _ctpn,
}

# ---- How they run ----------------------------------------------------------------------------------------------------


class Runner:
    def __init__(self, loss, case, inputs, takes_bytes=False):
        rank = inputs[case.predictions[0]].ndim
        self._last = case.channels and rank > 3
        # Labels of classes have one dimension less, as have the masks of N x C x H x W maps.
        arrays = {
            name: np.ascontiguousarray(np.moveaxis(a, 1, -1)) if self._last and a.ndim == rank else a
            for name, a in inputs.items()
        }
        tensors = [tf.constant(array) for array in arrays.values()]
        predictions = tensors[: len(case.predictions)]
        dtype = tensors[0].dtype
        wanted = [
            (tf.int32 if name in case.labels else dtype) if array.dtype == np.uint8 and not takes_bytes else None
            for name, array in inputs.items()
        ]

        def call(*tensors):
            value = loss(*(t if to is None else tf.cast(t, to) for t, to in zip(tensors, wanted)))
            return value["loss"] if isinstance(value, dict) else value

        @tf.function(autograph=False)
        def step(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors[: len(predictions)])
                value = call(*tensors)
            return value, tape.gradient(value, tensors[: len(predictions)])

        self._forward = tf.function(call, autograph=False)
        self._step = step
        self._inputs = tensors
        self._grads = None

    def forward(self):
        return self._forward(*self._inputs)

    def step(self):
        self._grads = None
        value, self._grads = self._step(*self._inputs)
        return value

    def value(self, result) -> float:
        return float(result)

    def gradients(self) -> list[np.ndarray]:
        found = [tf.cast(g, tf.float32).numpy() for g in self._grads]
        return [np.moveaxis(g, -1, 1) if self._last and g.ndim > 3 else g for g in found]

    def clear(self) -> None:
        self._grads = None


def own(case, inputs, mood):
    if case.name == "ctpn":
        return None  # segloss.tensorflow.ctpn_loss is called as upstream's, which makes its targets too
    function = functools.partial(case.function(segloss.tensorflow), **case.options)
    if len(inputs) == 2:  # Keras's order
        return Runner(lambda x, y: function(y, x), case, inputs, takes_bytes=True)
    return Runner(function, case, inputs, takes_bytes=True)


CONTENDERS = {
    "segloss.tensorflow": own,
    "tf.function": lambda case, inputs, mood: Runner(LOSSES[case.name], case, inputs) if case.name in LOSSES else None,
}
