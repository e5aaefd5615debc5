"""Holds the kernel modules to their instruction sets.

Code generation can quietly break what dispatch promises, in two ways that no numeric test sees:

1. A kernel object that emits a weak copy of library code: the linker keeps one copy of all, so that an AVX level runs the
   baseline's code (slow), or an old processor an AVX level's (a crash).
2. An AVX instruction outside the AVX modules: a crash on processors without it.

And two that are merely slow: a call out of a kernel (to libm, lane by lane), and a call from a kernel's loop (to a closure
that was not inlined, all vectors by way of the stack). Usage: check_levels.py BUILD_FOLDER [library]
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


def calls_in_loops(instructions: list[tuple[int, str]]) -> list[str]:
    calls = [(address, text) for address, text in instructions if text.startswith("call") and "@plt" not in text]
    jumps = [(address, int(to[1], 16)) for address, text in instructions if (to := JUMP.match(text))]
    return [text for call, text in calls if any(to <= call <= address for address, to in jumps)]


def check_library(library: pathlib.Path) -> tuple[list[str], list[str]]:
    """AVX instructions outside the AVX modules, and calls in loops of these."""
    elsewhere, called = [], []
    for name, instructions in functions(library):
        if any(module in name for module in VECTOR_CODE):
            called += [f"{name}: {text}" for text in calls_in_loops(instructions)]
        else:
            used = {text.split()[0] for _, text in instructions if text.startswith("v")} - {"verr", "verw"}
            elsewhere += [f"{name}: {instruction}" for instruction in sorted(used)[:1]]
    return elsewhere, called


def main() -> None:
    build = pathlib.Path(sys.argv[1])
    library = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else build / "libsegloss.so"
    elsewhere, called = check_library(library)
    checks = {
        "no foreign weak code in the kernel modules": foreign_weak_text(build),
        "no call out of a kernel": calls_out_of_kernels(build),
        "no AVX instruction outside the AVX modules": elsewhere,
        # The baseline's multiply-add is a function of its own: it has no instruction for it.
        "no call from a loop of the AVX modules": called,
    }
    for name, problems in checks.items():
        print(f"{'ok    ' if not problems else 'FAILED'} {name}")
        for problem in problems[:20]:
            print(f"       {problem}")
    if any(checks.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
