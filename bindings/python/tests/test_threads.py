"""The number of threads changes how long it takes, never a bit."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


def run_alone(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_the_environment_sets_the_number():
    assert run_alone("import segloss; print(segloss.num_threads())", SEGLOSS_NUM_THREADS="3") == ["3"]


def test_a_forked_child_computes():
    """Data loaders fork with the pool alive; the child has none of its threads, and the parent keeps all of them."""
    script = """if True:
        import hashlib, os, signal, sys, numpy as np, segloss
        from catalog import BY_NAME
        from support import bits
        entry = BY_NAME["db-bce"]
        inputs = entry.draw((3, 503, 509), dtype=np.float32)
        digest = lambda: hashlib.sha256(b"".join(bits(entry.run(inputs)))).hexdigest()
        segloss.set_num_threads(3)
        print(digest(), flush=True)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            print(digest(), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(digest())
    """
    digests = run_alone(script)
    assert len(digests) == 3 and len(set(digests)) == 1


def test_a_signals_handler_runs_and_calls_go_on():
    """Ctrl-C between calls raises as ever, on the thread that Python has it raised on; what it interrupts is unharmed."""
    script = """if True:
        import hashlib, os, signal, threading, numpy as np, segloss
        from catalog import BY_NAME
        from support import bits
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs do not have
        entry = BY_NAME["db-bce"]
        inputs = entry.draw((3, 503, 509), dtype=np.float32)
        digest = lambda: hashlib.sha256(b"".join(bits(entry.run(inputs)))).hexdigest()
        segloss.set_num_threads(3)
        want, interrupted = digest(), 0
        for turn in range(5):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                while True:
                    assert digest() == want
            except KeyboardInterrupt:
                interrupted += 1
        assert digest() == want
        print(interrupted)
    """
    assert run_alone(script) == ["5"]


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
