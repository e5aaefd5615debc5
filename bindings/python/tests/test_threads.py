"""The number of threads changes how long it takes, never a bit."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import segloss

from catalog import CATALOG
from support import LARGE, PREDICTION_TYPES, assert_same_bits, bits

# Four chunks with an odd end; and enough work that every thread gets some.
SHAPES = [LARGE, (3, 503, 509)]


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_same_bits(entry, kind, threads):
    for shape in SHAPES if kind == "f32" else SHAPES[:1]:
        inputs = entry.draw(shape, dtype=PREDICTION_TYPES[kind])
        threads(1)
        want = entry.run(inputs)
        for n in (2, 3):
            threads(n)
            assert_same_bits(entry.run(inputs), want)


@pytest.mark.parametrize("entry", CATALOG, ids=repr)
def test_same_bits_in_place_and_strided(entry, threads):
    inputs = {k: v[..., ::-1] for k, v in entry.draw(SHAPES[1], dtype=np.float32).items()}
    threads(1)
    want = entry.run(inputs)
    threads(3)
    assert_same_bits(entry.run(inputs), want)


def test_called_from_many_threads_at_once(threads):
    threads(2)
    work = [(entry, entry.draw((3, 257, 263), seed, np.float32)) for seed in range(2) for entry in CATALOG]
    want = [bits(entry.run(inputs)) for entry, inputs in work]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda job: bits(job[0].run(job[1])), work)) == want


def test_the_number_is_what_was_set(threads):
    for n in (1, 2, 3):
        threads(n)
        assert segloss.num_threads() == n


def test_zero_gives_the_default_back(threads):
    threads(0)
    default = segloss.num_threads()
    threads(default + 1)
    threads(0)
    assert segloss.num_threads() == default >= 1


@pytest.mark.parametrize("n", [2.5, "two", None])
def test_no_such_number(n):
    before = segloss.num_threads()
    with pytest.raises(TypeError):
        segloss.set_num_threads(n)
    assert segloss.num_threads() == before
