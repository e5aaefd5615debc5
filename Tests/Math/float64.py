"""The kernels' elementary functions in float64 against MPFR: `sweep float64 N | python float64.py`.

Prints the largest error of each in ulp of the truth; fails where it exceeds what is stated at the function.
"""

import sys

import gmpy2
import numpy as np
from gmpy2 import mpfr

# Sixty bits more than the results have, and no limits of the exponent: what is rounded here does not show.
gmpy2.set_context(gmpy2.context(precision=113 + 60, emin=gmpy2.get_emin_min(), emax=gmpy2.get_emax_max()))
ONE = mpfr(1)
LIMIT = mpfr(2) ** 1024 - mpfr(2) ** 970


def sigmoid(x):
    return ONE / (ONE + gmpy2.exp(-x))


def softplus(x):
    return max(x, mpfr(0)) + gmpy2.log1p(gmpy2.exp(-abs(x)))


def power(gamma):
    return lambda u: u**gamma


# Name: truth, bound, bound of subnormal results (in units of the smallest number). A power's bound grows with |log u^gamma|.
FUNCTIONS = {
    "exp": (gmpy2.exp, 1, 2),
    "expOfNegative": (gmpy2.exp, 1, 2),
    "log": (gmpy2.log, 1, 1),
    "log1p": (gmpy2.log1p, 2, 1),
    "log1p(fraction:)": (gmpy2.log1p, 2, 1),
    "logOnePlus": (gmpy2.log1p, 2, 1),
    "oneMinusExp": (lambda x: -gmpy2.expm1(x), 2, 1),
    "squareRoot.root": (gmpy2.sqrt, 1, 1),
    "squareRoot.inverse": (lambda x: ONE / gmpy2.sqrt(x), 2, 1),
    "sigmoid.value": (sigmoid, 3, 2),
    "sigmoid.complement": (lambda x: sigmoid(-x), 3, 2),
    "softplus": (softplus, 3, 2),
    "min(100, -log1p(-p))": (lambda p: min(mpfr(100), -gmpy2.log1p(-p)), 2, 1),
    "u^0.75": (power(mpfr(0.75)), 2, 2),
    "u^3.0": (power(mpfr(3)), 2, 2),
}


def error(x, value, truth, grows):
    """(ulp, whether the truth is a subnormal number)"""
    if not gmpy2.is_finite(truth):
        same = np.isnan(value) if gmpy2.is_nan(truth) else value == float(truth)
        return (0.0 if same else np.inf), False
    if not np.isfinite(value):  # infinity is the nearest from half a unit beyond the largest number
        right = value == (np.inf if truth > 0 else -np.inf) and abs(truth) >= LIMIT
        return (0.0 if right else np.inf), False
    exponent = max(gmpy2.get_exp(truth) - 1, -1022) if truth else -1022
    ulps = float(abs(mpfr(float(value)) - truth) / mpfr(2) ** (exponent - 52))
    if grows:
        ulps /= 1 + (abs(float(gmpy2.log(truth))) if truth else 0.0)
    return ulps, abs(truth) < mpfr(2) ** -1022


def main(stream):
    holds, seen = True, 0
    while line := stream.readline():
        name, count = line.decode().rstrip().split("|")
        count = int(count)
        x, values = (np.frombuffer(stream.read(8 * count)) for _ in range(2))
        function, bound, subnormal_bound = FUNCTIONS[name]
        worst = {False: (0.0, 0.0), True: (0.0, 0.0)}
        for a, value in zip(x.tolist(), values.tolist()):
            ulps, subnormal = error(a, value, function(mpfr(a)), name.startswith("u^"))
            worst[subnormal] = max(worst[subnormal], (ulps, a))
        right = worst[False][0] <= bound and worst[True][0] <= subnormal_bound
        holds &= right
        seen += 1
        print(
            f"{name}, float64: {worst[False][0]:.4f} ulp at {worst[False][1]!r}, bound {bound}; subnormal results "
            f"{worst[True][0]:.4f}, bound {subnormal_bound}; {count} against MPFR {gmpy2.mpfr_version().split()[-1]}"
            + ("" if right else "  EXCEEDS ITS BOUND"),
            flush=True,
        )
    return 0 if holds and seen == len(FUNCTIONS) else 1


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer))
