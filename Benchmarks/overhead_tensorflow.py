"""What a loss of 64 elements costs in TensorFlow: segloss.tensorflow beside TensorFlow's own, by turns in one process.

python overhead_tensorflow.py [--rounds 60]
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import segloss.tensorflow

NATIVE = "tf: mean of squared_difference"


def losses():
    return {
        NATIVE: lambda y_true, y_pred: tf.reduce_mean(
            tf.math.squared_difference(y_pred, y_true)
        ),
        "keras.losses.MeanSquaredError()": keras.losses.MeanSquaredError(),
        "keras.losses.Dice()": keras.losses.Dice(),
        "segloss.tensorflow.dice_loss": segloss.tensorflow.dice_loss,
        "segloss.tensorflow.DiceLoss()": segloss.tensorflow.DiceLoss(),
        "segloss.tensorflow.DiceLoss(per_sample=True)": segloss.tensorflow.DiceLoss(
            per_sample=True
        ),
    }


def calls(loss, y_true, y_pred):
    """Forward alone, then forward and backward; eager, then as functions."""

    def forward():
        return loss(y_true, y_pred)

    def both():
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
        return tape.gradient(value, y_pred)

    return (
        forward,
        both,
        tf.function(forward, autograph=False),
        tf.function(both, autograph=False),
    )


def microseconds(call, count=100):
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count * 1e6


def main():
    parser = argparse.ArgumentParser(
        description="Overhead of a loss of 64 elements in TensorFlow."
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=60,
        help="of 100 calls each (default: %(default)s)",
    )
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    y_pred = tf.constant(rng.standard_normal((1, 8, 8, 1)).astype(np.float32))
    y_true = tf.constant((rng.random((1, 8, 8, 1)) < 0.3).astype(np.float32))
    made = {name: calls(loss, y_true, y_pred) for name, loss in losses().items()}
    print(
        f"{'microseconds, median':<46}{'eager':>9}{'+ grad':>9}{'function':>10}{'+ grad':>9}{'ratios + grad':>20}"
    )
    times = {name: [[], [], [], []] for name in made}
    for kind in range(4):
        for name in made:
            microseconds(made[name][kind])
        for _ in range(rounds):
            for name in made:
                times[name][kind].append(microseconds(made[name][kind]))
    for name, kinds in times.items():
        # A ratio of neighbours in time: what else the machine does, it does to both.
        ratios = [
            statistics.median(a / b for a, b in zip(kinds[k], times[NATIVE][k]))
            for k in (1, 3)
        ]
        middle = [statistics.median(kind) for kind in kinds]
        print(
            f"{name:<46}"
            + "".join(f"{t:>{w}.0f}" for t, w in zip(middle, (9, 9, 10, 9)))
            + f"{ratios[0]:>12.2f}{ratios[1]:>8.2f}"
        )


if __name__ == "__main__":
    main()
