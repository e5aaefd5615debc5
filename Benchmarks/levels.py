"""What the instruction set counts for: value and gradient of every loss at AVX2 and at the baseline, beside AVX-512.

python levels.py [--case dice,bce] [--rounds 9]

A process runs one instruction set, so that there are several, which take turns on one core; what counts is their own
processor time. Memory is warm.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

LEVELS = ("avx512", "avx2", "baseline")


def serve(name):
    """A child: for each line that comes, the time of one call."""
    import segloss
    from cases import CASES, SHAPES
    from peers_segloss import Runner

    case = CASES[name]
    segloss.set_num_threads(1)
    runner = Runner(case, case.inputs(SHAPES[case.shapes[0]], 1), "warm")
    runner.step()
    for _ in sys.stdin:
        start = time.thread_time()
        runner.step()
        print(time.thread_time() - start, flush=True)


def times(name, levels, rounds):
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--serve", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "SEGLOSS_ISA": level},
        )
        for level in levels
    ]  # fmt: skip
    found = {level: [] for level in levels}
    for _ in range(rounds + 1):
        for level, child in zip(levels, children):
            child.stdin.write("\n")
            child.stdin.flush()
            found[level].append(float(child.stdout.readline()))
    for child in children:
        child.communicate()
    return {level: statistics.median(calls[1:]) for level, calls in found.items()}


def main():
    from cases import CASES

    parser = argparse.ArgumentParser(description="Instruction sets beside each other.")
    parser.add_argument("--case", default=",".join(CASES), help="some of: %(default)s")
    parser.add_argument("--rounds", type=int, default=9, help="(default: %(default)s)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    import segloss

    levels = LEVELS[LEVELS.index(segloss.instruction_set()) :]
    print(f"{'one core, value + gradient':<28}{levels[0] + ' ms':>12}" + "".join(f"{'× ' + x:>12}" for x in levels[1:]))
    for name in options.case.split(","):
        found = times(name, levels, options.rounds)
        best = found[levels[0]]
        print(f"{name:<28}{best * 1e3:>12.2f}" + "".join(f"{found[x] / best:>12.2f}" for x in levels[1:]), flush=True)


if __name__ == "__main__":
    main()
