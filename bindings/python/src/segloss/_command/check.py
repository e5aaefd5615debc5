"""`python -m segloss check`: is the library right on this machine?

Every loss, at every instruction set that the processor has, on one thread and on several:

- *golden*: the printed golden vectors of `golden`, in float64;
- *gradient*: in float64, against central differences of the value by each element;
- *bits*: float32, on more than a thread takes alone, the same bits at all levels and numbers of threads.

The levels run in processes of their own, since SEGLOSS_ISA is read once.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import segloss

from .. import _abi
from . import console, golden, names, scenes

LEVELS = ("baseline", "avx2", "avx512")

# Steps of 1e-6 cost 1e-10 of the value in rounding, and 1e-12 of the third derivative, which for DB's step is 1e5 times
# the first: both leave this share of the largest entry far behind, and a wrong factor or sign does not.
_STEP = 1e-6
_TOLERANCE = 1e-5

_SMALL = (2, 5, 7)
# Four chunks of 65536 elements, and a bit: more than one thread is given alone.
_LARGE = (1, 517, 511)


def largest_difference(loss: Any, scene: scenes.Scene) -> float:
    """Between gradients and central differences, as a share of the largest entry."""
    inputs = scenes.arguments(loss, scene)
    _, gradients = scenes.value_and_gradients(loss, inputs)
    worst = largest = 0.0
    for place, gradient in zip(scenes.predictions(loss, inputs), gradients, strict=True):
        moved = list(inputs)
        for at in np.ndindex(inputs[place].shape):
            values = []
            for step in (_STEP, -_STEP):
                moved[place] = inputs[place].copy()
                moved[place][at] += step
                value = loss(*moved)
                values.append(value["loss"] if isinstance(value, dict) else value)
            slope = (values[0] - values[1]) / (2 * _STEP)
            worst = max(worst, float(abs(slope - gradient[at])))
            largest = max(largest, float(abs(gradient[at])))
    return worst / largest


def bits(loss: Any, scene: scenes.Scene) -> str:
    """A digest of value and gradients."""
    value, gradients = scenes.value_and_gradients(loss, scenes.arguments(loss, scene))
    digest = hashlib.sha256(np.float64(value).tobytes())
    for gradient in gradients:
        digest.update(gradient.tobytes())
    return digest.hexdigest()


def work_of(cls: Any) -> dict[str, Any]:
    """Failures of a loss in this process, its largest difference from finite differences, and its bits."""
    small, large = scenes.random(_SMALL, np.float64), scenes.random(_LARGE, np.float32, np.uint8)
    failures, difference, digests = [], 0.0, []
    for case in golden.CASES:
        if type(case.loss) is cls:
            try:
                case.verify()
            except AssertionError as error:
                failures.append(str(error))
    for options in names.variants(cls):
        loss = cls(**options)
        share = largest_difference(loss, small)
        difference = max(difference, share)
        if not share <= _TOLERANCE:
            failures.append(f"{loss!r}: gradient and finite differences are {share:.1e} of the largest entry apart")
        digests.append(bits(loss, large))
    return {"failures": failures, "difference": difference, "bits": digests}


def work(threads: int) -> dict[str, Any]:
    """What this process finds of each loss, at its level and this number of threads."""
    segloss.set_num_threads(threads)
    return {"losses": {name: work_of(cls) for name, cls in segloss.LOSSES.items()}}


def _at(level: str, threads: int) -> dict[str, Any]:
    """`work` in a process of its own; {"absent": why} where the processor lacks the level."""
    environment = {**os.environ, "SEGLOSS_ISA": level, "SEGLOSS_LIBRARY": str(_abi.lib._name)}
    program = f"import json; from segloss._command import check; print(json.dumps(check.work({threads})))"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return {"absent" if "SEGLOSS_ISA" in reason else "broken": reason}


def run() -> int:
    """Prints what was found; 0 where all is right."""
    start = time.perf_counter()
    several = max(2, segloss.num_threads())
    configurations = [(level, threads) for level in LEVELS for threads in (1, several)]
    results: dict[tuple[str, int], dict[str, Any]] = {}
    for configuration in console.progress(configurations, "checking"):
        results[configuration] = _at(*configuration)

    failures: list[str] = []
    ran = {c: r for c, r in results.items() if "losses" in r}
    for (level, threads), result in results.items():
        if "broken" in result:
            failures.append(f"{level}, {_threads(threads)}: {result['broken']}")
    rows = []
    for name in segloss.LOSSES if ran else ():
        found = {c: r["losses"][name] for c, r in ran.items()}
        wrong = [f"{level}, {_threads(t)}: {f}" for (level, t), r in found.items() for f in r["failures"]]
        same = len({tuple(r["bits"]) for r in found.values()}) == 1
        if not same:
            wrong.append(f"{name}: other bits at another instruction set or number of threads")
        failures += wrong
        cases = sum(type(case.loss).__name__ == name for case in golden.CASES)
        difference = max(r["difference"] for r in found.values())
        rows.append((name, str(cases), f"{difference:.0e}", "same" if same else "differ", "fail" if wrong else "ok"))
    if rows:
        console.table(rows, ("loss", "golden", "gradient", "bits", ""), right=(1, 2))
        print()
    for level in LEVELS:
        if (level, 1) in ran:
            print(f"{level}: ran, on 1 and {several} threads")
        elif "absent" in results[level, 1]:
            print(f"{level}: not on this processor")
        else:
            print(f"{level}: BROKEN")
    for failure in failures:
        print(f"FAIL {failure}")
    verdict = f"{len(failures)} FAILED" if failures else "passed"
    print(f"segloss {segloss.__version__}: {verdict} in {time.perf_counter() - start:.0f} s")
    return 1 if failures else 0


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
