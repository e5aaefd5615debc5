"""Random inputs, memory layouts and comparisons that the tests share. Needs numpy only."""

import ml_dtypes
import numpy as np

bfloat16 = np.dtype(ml_dtypes.bfloat16)

PREDICTION_TYPES = {
    "f64": np.dtype(np.float64),
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": bfloat16,
}
TARGET_TYPES = {
    **PREDICTION_TYPES,
    "u8": np.dtype(np.uint8),
    "bool": np.dtype(bool),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
}

# N x H x W with counts at and around the library's inner sizes (lanes of 32, blocks of 1024, chunks of 65536) and plain
# odd ones.
SHAPES = [
    (1, 1, 1),
    (1, 1, 2),
    (2, 1, 17),
    (1, 31, 1),
    (1, 3, 11),
    (2, 7, 13),
    (1, 11, 93),
    (1, 32, 32),
    (5, 5, 41),
    (3, 17, 19),
    (1, 255, 257),
    (4, 128, 128),
    (1, 1, 65537),
    (3, 1, 65537),
]
SMALL = (2, 13, 17)
LARGE = (3, 1, 65537)


def id_of(value):
    return "x".join(map(str, value)) if isinstance(value, tuple) else None


# ---------------------------------------------------------------- values


def grid(rng, shape, levels=256, low=1, high=None):
    """Multiples of 1/levels from inside (0, 1).

    Every such p and 1 - p is exact in every element type (levels <= 256), so one input serves them all, and a float32
    selection has to agree with a float64 one. With thousands of pixels and few levels, ties at the K-th place are the
    rule.
    """
    return rng.integers(low, levels if high is None else high, shape) / levels


def binary(rng, shape, share):
    return (rng.integers(0, 1000, shape) < 1000 * share).astype(np.float64)


def probabilities(rng, shape):
    """Ordinary float32 probabilities, kept a little away from 0 and 1 so that no logarithm or quotient runs away."""
    return (0.01 + 0.98 * rng.random(shape)).astype(np.float32)


def logits(rng, shape, kind="f64"):
    """Normal ones with all their digits, up to 16 or so."""
    return np.asarray(4 * rng.standard_normal(shape)).astype(kind.replace("f", "float"))


# ---------------------------------------------------------------- layouts: the same array, elsewhere in memory


def _filled(shape, dtype):
    """Memory whose contents would be noticed if they were read."""
    return np.full(shape, 1 if dtype.kind in "b" else 77 if dtype.kind in "iu" else np.nan, dtype)


def sliced(a):
    big = _filled(tuple(n + 3 for n in a.shape), a.dtype)
    view = big[tuple(slice(1, n + 1) for n in a.shape)]
    view[...] = a
    return view


def strided(a):
    big = _filled((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    view = big[..., ::2]
    view[...] = a
    return view


def rows_strided(a):
    big = _filled((*a.shape[:-2], 3 * a.shape[-2], a.shape[-1]), a.dtype)
    view = big[..., 1::3, :]
    view[...] = a
    return view


def reversed_(a):
    return np.ascontiguousarray(np.flip(a))[(slice(None, None, -1),) * a.ndim]


def channels_last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def transposed(a):
    return np.asfortranarray(a)


def misaligned(a):
    memory = bytearray(a.nbytes + 1)
    view = np.frombuffer(memory, a.dtype, a.size, offset=1).reshape(a.shape)
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    f.__name__.strip("_"): f
    for f in (sliced, strided, rows_strided, reversed_, channels_last, transposed, misaligned, read_only)
}


# ---------------------------------------------------------------- comparisons

# (value, gradient): of max(|v|, 1e-3) and of the gradient's largest entry. In float32, sums are held to 5e-7 by the
# size of a block and an entry costs a handful of roundings of 6e-8; a division by p (1 - p) doubles them. In float64
# the same reasoning leaves decades to spare.
BOUNDS = {"f64": (1e-12, 1e-12), "f32": (1e-6, 1e-6)}


def bounds(kind, divides=False):
    value, gradient = BOUNDS[kind]
    return value, gradient * (2 if divides and kind == "f32" else 1)


def parts_of(value):
    return value if isinstance(value, dict) else {"value": value}


def total(value):
    """The loss itself, whether it came alone or among its parts."""
    parts = parts_of(value)
    return parts.get("loss", parts.get("value"))


def check_value(got, want, bound):
    got, want = parts_of(got), parts_of(want)
    assert set(want) <= set(got), f"parts {sorted(want)} wanted, {sorted(got)} came"
    for name, w in want.items():
        assert isinstance(got[name], float), f"{name} is {type(got[name])}"
        assert abs(got[name] - w) <= bound * max(abs(w), 1e-3), f"{name}: {got[name]!r}, wanted {w!r}"


def check_gradient(got, want, bound, shared=False):
    """Map by map: a small gradient must not hide behind that of a neighbouring channel, unless the channels share their
    roundings, as those of a softmax do. Where nothing is wanted, nothing may come."""
    assert got.shape == want.shape
    # Below the normal numbers a unit is all the precision there is.
    unit = float(ml_dtypes.finfo(got.dtype).smallest_subnormal)
    got = got.astype(np.float64)
    for c in range(want.shape[1]) if want.ndim == 4 and not shared else [...]:
        g, w = (got, want) if c is ... else (got[:, c], want[:, c])
        error = np.abs(g - w)
        largest = np.abs(w).max(initial=0)
        assert not error.size or error.max() <= bound * largest + unit, (
            f"map {c}: off by {error.max():.3g} where the largest entry is {largest:.3g}, "
            f"at {np.unravel_index(np.argmax(error), error.shape)}; "
            f"{(error > bound * largest).sum()} of {error.size} entries"
        )


def check_map(got, want, bound):
    """Items, or a map of losses: each held to its own size."""
    error, want = np.abs(np.asarray(got, np.float64) - want), np.asarray(want)
    assert np.shape(got) == want.shape
    assert (error <= bound * np.maximum(np.abs(want), 1e-3)).all(), f"off by {error.max(initial=0):.3g} of {want}"


def check(result, wanted, kind, divides=False, shared=False):
    """(value or parts or array, gradient) against a reference's (parts, gradient)."""
    (got, grad), (want, slope) = result, wanted
    value, gradient = bounds(kind, divides)
    if isinstance(got, np.ndarray):
        check_map(got, want["loss"], value)
    else:
        check_value(got, want if isinstance(got, dict) else {"value": want["loss"]}, value)
    check_gradient(grad, slope, gradient, shared)


def bits(result):
    """Everything a call returned, as bytes."""
    value, grads = result
    numbers = [np.asarray(v).tobytes() for _, v in sorted(parts_of(value).items())]
    return [b"".join(numbers)] + [b"" if g is None else np.ascontiguousarray(g).tobytes() for g in grads]


def assert_same_bits(got, want):
    for i, (a, b) in enumerate(zip(bits(got), bits(want), strict=True)):
        assert a == b, f"{'value' if i == 0 else f'gradient {i - 1}'} differs: {got[0]!r} / {want[0]!r}"


# ---------------------------------------------------------------- labels and masks that have gone wrong before


def _choice(rng, shape, values, shares):
    return rng.choice(np.array(values, np.float64), shape, p=shares)


# Multiples of 1/16, so that every count is exact in float32 as well and truncating it is not a matter of rounding.
SCENES = {
    "binary": lambda rng, s: (binary(rng, s, 0.2), binary(rng, s, 0.9)),
    "soft": lambda rng, s: (rng.integers(0, 17, s) / 16, binary(rng, s, 0.9)),
    "soft, weighted mask": lambda rng, s: (
        rng.integers(0, 17, s) / 16,
        _choice(rng, s, [0, 0.5, 1, 2], [0.1, 0.2, 0.6, 0.1]),
    ),
    "faint": lambda rng, s: (binary(rng, s, 0.02) / 16, np.ones(s)),  # the positives add up to less than one
    "signed": lambda rng, s: (_choice(rng, s, [-1, 0, 1, 2], [0.1, 0.4, 0.4, 0.1]), binary(rng, s, 0.9)),
    "signed mask": lambda rng, s: (binary(rng, s, 0.5), _choice(rng, s, [-1, 1], [0.1, 0.9])),
    "negative positives": lambda rng, s: (_choice(rng, s, [-1, 0, 1], [0.8, 0.1, 0.1]), np.ones(s)),  # P < 0
    "negative negatives": lambda rng, s: (_choice(rng, s, [0, 1, 2], [0.1, 0.1, 0.8]), np.ones(s)),  # K < 0
    "no positives": lambda rng, s: (np.zeros(s), binary(rng, s, 0.9)),
    "all positive": lambda rng, s: (np.ones(s), binary(rng, s, 0.9)),
    "few negatives": lambda rng, s: (binary(rng, s, 0.8), np.ones(s)),  # K is all of them
    "nothing valid": lambda rng, s: (binary(rng, s, 0.2), np.zeros(s)),
    "all valid": lambda rng, s: (binary(rng, s, 0.2), np.ones(s)),
}
# What torch's cross-entropy takes, and MhLiao's bytes hold: labels in [0, 1], no negative mask.
UNSIGNED = [name for name in SCENES if "signed" not in name and "negative " not in name]


def scene(name, shape, seed=0):
    """(label, mask) in float64."""
    return SCENES[name](np.random.default_rng([seed, *map(ord, name)]), shape)
