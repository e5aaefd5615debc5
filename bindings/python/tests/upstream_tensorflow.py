"""CTPN's published loss in TensorFlow, in graph mode, with its automatic gradients: run as a program of its own.

    python upstream_tensorflow.py CASES.npz RESULTS.npz

PaddlePaddle imported after TensorFlow kills the process that both are in. Cases are arrays named "case/argument",
results "case/name".
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Other orders of summation than the plain ones would only widen what float32 leaves open.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
import tensorflow as tf

SIGMA2 = 9.0


def smooth_l1(d):
    size = tf.abs(d)
    return tf.where(tf.less(size, 1.0 / SIGMA2), 0.5 * SIGMA2 * d * d, size - 0.5 / SIGMA2)


@tf.function(reduce_retracing=True)
def ctpn(cls, box, labels, targets, inside, outside):
    """(cross-entropy, box loss), and the gradients of their sum."""
    with tf.GradientTape() as tape:
        tape.watch([cls, box])
        labels = tf.reshape(labels, [-1])
        keep = tf.where(tf.not_equal(labels, -1))

        def kept(a, k):
            return tf.gather(tf.reshape(a, [-1, k]), keep)

        entropy = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.gather(labels, keep), logits=kept(cls, 2))
        )
        term = kept(outside, 4) * smooth_l1(kept(inside, 4) * (kept(box, 4) - kept(targets, 4)))
        positives = tf.reduce_sum(tf.cast(tf.equal(labels, 1), tf.float32))
        boxes = tf.reduce_sum(term) / (positives + 1)
        total = entropy + boxes
    return (entropy, boxes, *tape.gradient(total, [cls, box], unconnected_gradients="zero"))


def main(source, destination):
    arrays = np.load(source)
    names = list(dict.fromkeys(key.split("/")[0] for key in arrays))
    results = {}
    for name in names:
        arguments = [arrays[f"{name}/{i}"] for i in range(6)]
        found = ctpn(*(tf.constant(a, tf.int32 if i == 2 else tf.float32) for i, a in enumerate(arguments)))
        for key, value in zip(("rpn_cross_entropy", "rpn_loss_box", "cls", "box"), found):
            results[f"{name}/{key}"] = tf.convert_to_tensor(value).numpy()
    np.savez(destination, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
