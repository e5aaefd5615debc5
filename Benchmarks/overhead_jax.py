"""What a call of segloss.jax costs apart from the arithmetic: value and gradient of 64 numbers under jit, beside
jax.numpy's mean squared error and a Dice in jax.numpy. Rounds of calls of each take turns; processor time, medians."""

import time

import jax
import jax.numpy as jnp
import numpy as np

import segloss.jax as sj

ROUNDS, CALLS = 41, 1000


def mse(x, y):
    return jnp.mean((x - y) ** 2)


def dice(x, y):
    p = jax.nn.sigmoid(x)
    return 1 - (2 * jnp.sum(p * y) + 1) / (jnp.sum(p) + jnp.sum(y) + 1)


def per_call(function, x, y):
    """Microseconds."""
    start = time.process_time()
    for _ in range(CALLS):
        result = function(x, y)
    jax.block_until_ready(result)
    return (time.process_time() - start) / CALLS * 1e6


def main():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(64).astype(np.float32))
    y = jnp.asarray((rng.random(64) < 0.5).astype(np.float32))
    losses = {
        "jax.numpy mse": mse,
        "jax.numpy dice": dice,
        "smooth_l1_loss": sj.smooth_l1_loss,
        "bce_loss": sj.bce_loss,
        "dice_loss": sj.dice_loss,
    }
    for what, transform in (("value", lambda f: f), ("value and gradient", jax.value_and_grad)):
        functions = {name: jax.jit(transform(loss)) for name, loss in losses.items()}
        for function in functions.values():
            jax.block_until_ready(function(x, y))
        times = {name: [] for name in functions}
        for _ in range(ROUNDS):
            for name, function in functions.items():
                times[name].append(per_call(function, x, y))
        base = np.array(times["jax.numpy mse"])
        print(f"{what}, 64 numbers, jit")
        for name, values in times.items():
            ratio = np.median(np.array(values) / base)
            print(f"  {name:<16}{np.median(values):>7.2f} us  {min(values):>7.2f} at best{ratio:>7.2f} x mse")


if __name__ == "__main__":
    main()
