"""How many lines of Swift and of Python the tests reach, by module, and the name of each function that has others.

    python Tests/Coverage/report.py FOLDER LIBRARY [TEST_PROGRAM]

FOLDER holds what counting processes left: *.profraw and *.profdata of Swift, python.* of coverage.py. LIBRARY and TEST_PROGRAM
are what counted, and swift is on the path. The kernels of all instruction sets are one source: a line that one of them has
reached is reached.
"""

import collections
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(command, **options):
    return subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def swift(folder, objects):
    """{file: ({line: times}, {line where a function begins: its name})}"""
    tools = Path(shutil.which("swift")).resolve().parent
    profile = folder / "all.profdata"
    counts = [path for kind in ("profraw", "profdata") for path in folder.glob(f"*.{kind}") if path != profile]
    run([tools / "llvm-profdata", "merge", "-sparse", *counts, "-o", profile])
    others = [part for path in objects[1:] for part in ("-object", path)]
    lcov = run(
        [tools / "llvm-cov", "export", "-format=lcov", "-instr-profile", profile, objects[0], *others, ROOT / "Sources"]
    )
    names = run([tools / "swift-demangle", "-simplified"], input=lcov)
    files = collections.defaultdict(lambda: (collections.Counter(), {}))
    for line in names.splitlines():
        kind, _, rest = line.partition(":")
        if kind == "SF":
            path = str(Path(rest).relative_to(ROOT))
            lines, functions = files[path.replace("KernelsAVX2", "Kernels").replace("KernelsAVX512", "Kernels")]
        elif kind == "DA":
            number, times = rest.split(",")[:2]
            lines[int(number)] += int(times)
        elif kind == "FN":
            number, _, name = rest.partition(",")
            # What has a name of its own; closures are part of what they stand in.
            if "closure #" not in name and "implicit" not in name:
                functions.setdefault(int(number), plain(name))
    return files


def plain(name):
    """A demangled function without its types: `name(labels:)`."""
    name = name.partition(":")[2] if name.partition(":")[0].endswith(".swift") else name
    for start in ("specialized ", "static ", "partial apply for ", "protocol witness for ", "key path getter for "):
        name = name.removeprefix(start)
    head, bracket, rest = name.partition("(")
    labels = rest.split(")")[0] if bracket else ""
    return head.split("<")[0] + (f"({labels})" if bracket else "")


def python(folder):
    """The same of the package."""
    parts, report = sorted(folder.glob("python.*")), folder / "report.json"
    coverage = [sys.executable, "-m", "coverage"]
    options = ["-q", "--rcfile", Path(__file__).with_name("coveragerc"), "--data-file", folder / "python"]
    run([*coverage, "combine", *options, *parts], cwd=ROOT)
    run([*coverage, "json", *options, "-o", report], cwd=ROOT)
    files = {}
    for path, found in json.loads(report.read_text())["files"].items():
        lines = collections.Counter(dict.fromkeys(found["executed_lines"], 1))
        lines.update(dict.fromkeys(found["missing_lines"], 0))
        names = {f["start_line"]: name for name, f in found["functions"].items() if name}
        files["segloss/" + path.rpartition("/segloss/")[2]] = lines, names
    return files


def ranges(numbers):
    """[3, 4, 5, 9] as "3-5, 9"."""
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        group = [number for _, number in group]
        yield str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}"


def table(title, files, module):
    modules = collections.defaultdict(lambda: [0, 0])
    for path, (lines, _) in files.items():
        for total in (modules[module(path)], modules["all"]):
            total[0] += len(lines)
            total[1] += sum(times > 0 for times in lines.values())
    print(f"\n{title:32} {'lines':>7} {'reached':>8}")
    for name, (count, reached) in sorted(modules.items(), key=lambda item: (item[0] == "all", item[0])):
        print(f"  {name:30} {count:7} {reached:8} {100 * reached / max(count, 1):6.1f} %")


def missed(files):
    for path, (lines, functions) in sorted(files.items()):
        starts = sorted(functions)
        holes = collections.defaultdict(list)
        for number in sorted(number for number, times in lines.items() if not times):
            before = [start for start in starts if start <= number]
            holes[functions[before[-1]] if before else "(file)"].append(number)
        for name, numbers in holes.items():
            print(f"  {path}: {name}: {', '.join(ranges(numbers))}")


def main():
    folder, *objects = (Path(argument).resolve() for argument in sys.argv[1:])
    of_swift, of_python = swift(folder, objects), python(folder)
    print("Not reached:")
    missed(of_swift)
    missed(of_python)
    table("Swift", of_swift, lambda path: path.split("/")[1])
    table("Python", of_python, lambda path: "/".join(path.split("/")[:2]) if path.count("/") > 1 else "segloss")


if __name__ == "__main__":
    main()
