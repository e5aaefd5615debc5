"""What a loss of 64 elements costs in PaddlePaddle, forward and backward: segloss.paddle beside an empty PyLayer and
Paddle's own mse_loss, by turns in one process.

python overhead_paddle.py [--rounds 200]
"""

import argparse
import statistics
import time

import paddle
import segloss.paddle
from paddle.autograd import PyLayer


class Empty(PyLayer):
    """What any function with a gradient of its own pays: a number and a gradient, of which nothing is computed."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return paddle.empty([])

    @staticmethod
    def backward(ctx, factor):
        (x,) = ctx.saved_tensor()
        return paddle.empty_like(x)


def microseconds(call, count=100):
    # Of this thread: what else the machine does is not counted.
    start = time.thread_time()
    for _ in range(count):
        call()
    return (time.thread_time() - start) / count * 1e6


def main():
    parser = argparse.ArgumentParser(description="Overhead of a loss of 64 elements in PaddlePaddle.")
    parser.add_argument("--rounds", type=int, default=200, help="of 100 calls each (default: %(default)s)")
    rounds = parser.parse_args().rounds
    paddle.set_device("cpu")
    x, y = paddle.rand([64]), (paddle.rand([64]) < 0.3).astype("float32")
    x.stop_gradient = False
    maps = paddle.rand([1, 3, 4, 4])
    maps.stop_gradient = False
    labels = [None, *paddle.rand([4, 1, 4, 4])]
    criterion, db = segloss.paddle.DiceLoss(), segloss.paddle.DBLoss()
    losses = {
        "an empty PyLayer": lambda: Empty.apply(x),
        "paddle.nn.functional.mse_loss": lambda: paddle.nn.functional.mse_loss(x, y),
        "segloss.paddle.DiceLoss()": lambda: criterion(x, y),
        "segloss.paddle.dice_loss": lambda: segloss.paddle.dice_loss(x, y),
        "segloss.paddle.DBLoss(), 48 elements": lambda: db({"maps": maps}, labels)["loss"],
    }

    def both(loss):
        def call():
            loss().backward()
            x.clear_gradient(False)
            maps.clear_gradient(False)

        return call

    calls = {name: (loss, both(loss)) for name, loss in losses.items()}
    times = {name: ([], []) for name in losses}
    for _ in range(rounds):
        for name, pair in calls.items():
            for call, found in zip(pair, times[name]):
                found.append(microseconds(call))

    print(f"{'microseconds, median':<40}{'forward':>9}{'+ grad':>9}{'to empty':>10}{'to mse':>8}")
    baselines = [times[name][1] for name in list(losses)[:2]]
    for name, (forward, gradient) in times.items():
        ratios = [statistics.median(a / b for a, b in zip(gradient, baseline)) for baseline in baselines]
        row = f"{statistics.median(forward):>9.1f}{statistics.median(gradient):>9.1f}"
        print(f"{name:<40}{row}{ratios[0]:>10.2f}{ratios[1]:>8.2f}")


if __name__ == "__main__":
    main()
