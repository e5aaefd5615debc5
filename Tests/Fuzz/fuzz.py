"""Fuzzes the C boundary with libFuzzer, which comes with Swift: every function of include/losses.h through harness.c.

    python Tests/Fuzz/fuzz.py --seconds 600

Two builds take turns, each with coverage of every branch: `shipped`, with the flags of the library that users get, and
`checked`, whose kernels keep Swift's runtime checks (-O in place of -Ounchecked), under AddressSanitizer. What is found
lies in .build-fuzz/findings; each run adds a line to log.csv. New inputs go to .build-fuzz/corpus; --keep stores what is
worth keeping of them in corpus.txt, which `make test` replays.
"""

import argparse
import base64
import datetime
import hashlib
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / ".build-fuzz"
CORPUS = BUILD / "corpus"
FINDINGS = BUILD / "findings"
LOG = HERE / "log.csv"
KEPT = HERE / "corpus.txt"  # an input a line, in base64
COLUMNS = "date,commit,build,cpu_seconds,executions,edges,features,inputs,findings"
BUILDS = {"shipped": ("fuzzer", []), "checked": ("fuzzer,address", ["-Xswiftc", "-O"])}
MOST_BYTES = 512  # of an input: a call with all its arguments spoilt takes about 150


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, cwd=ROOT, **options)


def build(name):
    """The fuzzer with one build of the library."""
    sanitizers, flags = BUILDS[name]
    scratch = BUILD / name
    products = scratch / "release"
    run(
        "swift", "build", "-c", "release", "--product", "segloss", "--scratch-path", scratch, "-j", "2",
        "-Xswiftc", f"-sanitize={sanitizers}", *flags, stdout=sys.stderr,
    )  # fmt: skip
    soname = products / "libsegloss.so.0"
    if not soname.is_symlink():
        soname.symlink_to("libsegloss.so")
    with open(BUILD / "calls.h", "w") as table:
        run(sys.executable, HERE / "generate.py", ROOT / "include" / "losses.h", stdout=table)
    harness = BUILD / "harness.o"  # without coverage of its own: the library is what is explored
    run(
        "clang",
        "-std=gnu11",
        "-g",
        "-O1",
        f"-I{BUILD}",
        f"-I{ROOT / 'include'}",
        "-c",
        HERE / "harness.c",
        "-o",
        harness,
    )
    run(
        "clang", f"-fsanitize={sanitizers}", "-fuse-ld=lld", harness, "-o", scratch / "fuzz", f"-L{products}",
        "-lsegloss", f"-Wl,-rpath,{products}", "-lm",
    )  # fmt: skip
    return scratch / "fuzz"


def unpack(folder):
    """Writes the inputs that are kept as files, named as libFuzzer does."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in KEPT.read_text().splitlines() if KEPT.exists() else ():
        data = base64.b64decode(line)
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def fuzz(name, fuzzer, seconds):
    """One run; a line for the log, and whether something was found."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found_before = set(FINDINGS.glob(f"{name}-*"))
    done = subprocess.run(
        [
            "nice", "-n", "19", str(fuzzer), f"-max_total_time={seconds}", "-timeout=20", f"-max_len={MOST_BYTES}",
            f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1", str(CORPUS),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},  # libFuzzer looks for leaks itself, where it can
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    executions = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    state = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", done.stdout)[-1:] or [(0, 0, 0)]
    found = sorted(set(FINDINGS.glob(f"{name}-*")) - found_before)
    if done.returncode != 0 and not found:
        print(done.stdout[-3000:])
    for path in found:
        print(f"{path}:", *re.findall(r"(?:segloss harness:|SUMMARY:|runtime failure:).*", done.stdout)[:3], sep="\n  ")
    commit = run("git", "rev-parse", "--short", "HEAD", capture_output=True, text=True).stdout.strip()
    line = [
        datetime.date.today().isoformat(), commit, name, f"{cpu:.0f}", executions[1] if executions else "0", *state[0],
        len(found),
    ]  # fmt: skip
    return ",".join(map(str, line)), done.returncode != 0 or bool(found)


def keep(fuzzer):
    """Of all inputs those that reach what no smaller ones reach."""
    merged = BUILD / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    run("nice", "-n", "19", fuzzer, "-merge=1", f"-max_len={MOST_BYTES}", merged, CORPUS, stderr=subprocess.DEVNULL)
    KEPT.write_text("".join(sorted(base64.b64encode(path.read_bytes()).decode() + "\n" for path in merged.iterdir())))
    shutil.rmtree(merged)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=600, help="in all (600)")
    parser.add_argument("--turn", type=int, default=300, help="of one build before the other's turn (300)")
    parser.add_argument("--builds", nargs="+", choices=BUILDS, default=list(BUILDS))
    parser.add_argument("--keep", action="store_true", help="store the corpus at the end")
    options = parser.parse_args()
    FINDINGS.mkdir(parents=True, exist_ok=True)
    unpack(CORPUS)
    fuzzers = {}
    if not LOG.exists():
        LOG.write_text(COLUMNS + "\n")
    left, turn, failed = options.seconds, 0, False
    while left > 0:
        name = options.builds[turn % len(options.builds)]
        seconds = min(left, options.turn)
        if name not in fuzzers:
            fuzzers[name] = build(name)
        line, found = fuzz(name, fuzzers[name], seconds)
        with open(LOG, "a") as log:
            log.write(line + "\n")
        print(line, flush=True)
        failed |= found
        left, turn = left - seconds, turn + 1
    if options.keep:
        keep(fuzzers[options.builds[0]])
    print("something was found" if failed else "nothing was found")
    return failed


if __name__ == "__main__":
    sys.exit(main())
