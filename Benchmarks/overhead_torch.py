"""What a step of segloss.torch costs where there is nothing to compute: 64 elements, forward and backward, beside PyTorch's
mse_loss and an autograd Function that does nothing.

By turns in one process, on one thread; the median of the rounds of each, which a busy machine disturbs least.

    python overhead_torch.py [--rounds 60]
"""

import argparse
import statistics
import time

import torch

import segloss.torch as st


class Empty(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return torch.empty(())

    @staticmethod
    def backward(ctx, grad_output):
        x, _ = ctx.saved_tensors
        return torch.empty_like(x), None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    x = torch.randn(64, requires_grad=True)
    y = (torch.rand(64) > 0.5).float()
    losses = {
        "mse_loss": torch.nn.functional.mse_loss,
        "nn.MSELoss": torch.nn.MSELoss(),
        "empty Function": Empty.apply,
        "segloss SmoothL1Loss": st.SmoothL1Loss(),
        "segloss DiceLoss": st.DiceLoss(),
        "segloss dice_loss": st.dice_loss,
    }
    times = {(name, backward): [] for name in losses for backward in (False, True)}
    for _ in range(rounds):
        for (name, backward), found in times.items():
            loss = losses[name]
            start = time.thread_time_ns()
            for _ in range(200):
                x.grad = None
                value = loss(x, y)
                if backward:
                    value.backward()
            found.append((time.thread_time_ns() - start) / 200e3)
    native = [statistics.median(times["mse_loss", backward]) for backward in (False, True)]
    print(f"{'us of processor time':24}{'forward':>10}{'and backward':>16}{'to mse_loss':>14}")
    for name in losses:
        forward, both = (statistics.median(times[name, backward]) for backward in (False, True))
        print(f"{name:24}{forward:10.1f}{both:16.1f}{both / native[1]:13.2f}x")


if __name__ == "__main__":
    main()
