"""Holds the kernel modules to their instruction sets.

Code generation can quietly break what dispatch promises, in two ways that no numeric test sees:

1. A kernel object that emits a weak copy of library code: the linker keeps one copy of all, so that an AVX level runs the
   baseline's code (slow), or an old processor an AVX level's (a crash).
2. An AVX instruction outside the AVX modules: a crash on processors without it.

And three that are merely slow: a call out of a kernel (to libm, lane by lane), a call from a kernel's loop (to a closure
that was not inlined, all vectors by way of the stack), and a loop on vectors that takes an operation of theirs lane by lane.

Usage: check_levels.py BUILD_FOLDER [library]
"""

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

VECTOR_MODULES = ("LossKernelsAVX2", "LossKernelsAVX512")
MODULES = ("LossKernels", *VECTOR_MODULES)
# What makes their tables is theirs too: called once the processor has been asked.
VECTOR_CODE = (*VECTOR_MODULES, "loss_kernels_avx")
# The stack protector, and what Swift's linker metadata names. The baseline's float64 multiply-add leaves what could over- or
# underflow to libm.
ALLOWED = re.compile(r"__stack_chk_fail|__swift_\w*|_swift_FORCE_LOAD\w*")
ALLOWED_IN = {"LossKernels": "fma"}

INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\t(.*\S)")
JUMP = re.compile(r"j\w+\s+([0-9a-f]+)\b")
VECTOR = re.compile(r"v\w+p[sd]\b")
LANE = re.compile(r"v(add|sub|mul|div|min|max|sqrt|fn?m(add|sub)\d+)s[sd]\b")
# A vector's lanes are four or more; what is computed once for a vector takes fewer.
LANES = 4


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def objects(build: pathlib.Path, module: str) -> list[str]:
    """Those of the sources that there are now: a renamed one leaves its object behind."""
    folder = build / f"{module}.build"
    outputs = folder / "output-file-map.json"
    named = json.loads(outputs.read_text()).values() if outputs.exists() else []
    paths = {folder / pathlib.Path(output["object"]).name for output in named}
    found = sorted(str(path) for path in paths if path.exists())
    if not found:
        sys.exit(f"no objects of {module} in {build}: build first")
    return found


def foreign_weak_text(build: pathlib.Path) -> list[str]:
    problems = []
    for module in MODULES:
        own = re.compile(rf"^(\$s{len(module)}{module}|__swift_|symbolic|DW\.ref)")
        for line in run("nm", *objects(build, module)).splitlines():
            parts = line.split()
            # W and V alike: `nm` calls weak functions W, weak data V; only functions carry an instruction set.
            if len(parts) == 3 and parts[1] == "W" and not own.match(parts[2]):
                problems.append(f"{module}: weak code that is not its own: {parts[2]}")
    return problems


def calls_out_of_kernels(build: pathlib.Path) -> list[str]:
    problems = []
    for module in MODULES:
        own = re.compile(rf"\$s(So|{len(module)}{module})")  # its own, and the imported C table's type
        for line in run("nm", "--undefined-only", *objects(build, module)).splitlines():
            name = line.split()[-1] if line.split()[:1] == ["U"] else ""
            if name and not own.match(name) and not ALLOWED.fullmatch(name) and name != ALLOWED_IN.get(module):
                problems.append(f"{module}: refers to {name}")
    return problems


def functions(library: pathlib.Path) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """The name of each, and its instructions: address and text."""
    listing = subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", str(library)], stdout=subprocess.PIPE, text=True)
    name, instructions = "?", []
    for line in listing.stdout:
        if line.endswith(">:\n"):
            yield name, instructions
            name, instructions = line.split("<", 1)[1][:-3], []
        elif match := INSTRUCTION.match(line):
            instructions.append((int(match[1], 16), match[2]))
    yield name, instructions
    if listing.wait() != 0:
        sys.exit(f"objdump could not read {library}")


def loops(instructions: list[tuple[int, str]]) -> list[tuple[int, int]]:
    """Where each begins and ends."""
    jumps = [(int(to[1], 16), address) for address, text in instructions if (to := JUMP.match(text))]
    return [(start, end) for start, end in jumps if start <= end]


def calls_in_loops(instructions: list[tuple[int, str]]) -> list[str]:
    calls = [(address, text) for address, text in instructions if text.startswith("call") and "@plt" not in text]
    found = loops(instructions) if calls else []
    return [text for call, text in calls if any(start <= call <= end for start, end in found)]


def lanes_in_loops(instructions: list[tuple[int, str]]) -> list[str]:
    """Innermost loops, where operations on one lane are many."""
    found = loops(instructions)
    innermost = [a for a in found if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in found)]
    problems = []
    for start, end in innermost:
        texts = [text for address, text in instructions if start <= address <= end]
        lanes = sum(1 for text in texts if LANE.match(text))
        if lanes > LANES and any(VECTOR.match(text) for text in texts):
            problems.append(f"{lanes} operations on one lane in {len(texts)} instructions from {start:x} on")
    return problems


def check_library(library: pathlib.Path) -> tuple[list[str], list[str], list[str]]:
    """AVX instructions outside the AVX modules; calls in loops of these, and operations there on single lanes."""
    elsewhere, called, apart = [], [], []
    for name, instructions in functions(library):
        if any(module in name for module in VECTOR_CODE):
            called += [f"{name}: {text}" for text in calls_in_loops(instructions)]
            apart += [f"{name}: {text}" for text in lanes_in_loops(instructions)]
        else:
            used = {text.split()[0] for _, text in instructions if text.startswith("v")} - {"verr", "verw"}
            elsewhere += [f"{name}: {instruction}" for instruction in sorted(used)[:1]]
    return elsewhere, called, apart


def main() -> None:
    build = pathlib.Path(sys.argv[1])
    library = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else build / "libsegloss.so"
    elsewhere, called, apart = check_library(library)
    checks = {
        "no foreign weak code in the kernel modules": foreign_weak_text(build),
        "no call out of a kernel": calls_out_of_kernels(build),
        "no AVX instruction outside the AVX modules": elsewhere,
        # The baseline's multiply-add is a function of its own: it has no instruction for it.
        "no call from a loop of the AVX modules": called,
        "no lane by itself in their vector loops": apart,
    }
    for name, problems in checks.items():
        print(f"{'ok    ' if not problems else 'FAILED'} {name}")
        for problem in problems[:20]:
            print(f"       {problem}")
    if any(checks.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
