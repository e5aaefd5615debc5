"""Whether programs compiled against one version of include/losses.h keep working with the library of another.

    python Tests/ABI/compare.py Tests/ABI/losses-0.1.h include/losses.h

prints what an older program would trip over, and fails if there is anything. A later version may add functions, enumerators,
structs and macros, and append fields to structs that begin with their size. It may change nothing else: no type, offset or
number, no function or field less. Names of fields and inline functions count too, since sources must go on compiling.
"""

import functools
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from header import compiler, read


def layout(path, header):
    """{"struct": size, "struct.field": (offset, size)} as the compiler has them."""
    lines = []
    for struct, fields in header.structs.items():
        lines.append(f'printf("{struct} %zu 0\\n", sizeof({struct}));')
        for name, _ in fields:
            place = f"offsetof({struct}, {name}), sizeof((({struct} *)0)->{name})"
            lines.append(f'printf("{struct}.{name} %zu %zu\\n", {place});')
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "layout"
        source = (
            "#include <stddef.h>\n#include <stdio.h>\n#include LOSSES\nint main(void) {\n" + "\n".join(lines) + "\n}\n"
        )
        program.with_suffix(".c").write_text(source)
        subprocess.run(
            [compiler(), f'-DLOSSES="{pathlib.Path(path).resolve()}"', program.with_suffix(".c"), "-o", program],
            check=True,
        )
        printed = subprocess.run([program], check=True, text=True, capture_output=True).stdout
    return {name: (int(a), int(b)) for name, a, b in map(str.split, printed.splitlines())}


@functools.cache
def described(path):
    header = read(path)
    return header, layout(path, header)


def differences(old_path, new_path):
    """What a program of the old header would trip over, a sentence each."""
    (old, old_layout), (new, new_layout) = described(old_path), described(new_path)
    if lost := set(old.structs) - set(new.structs):
        return [f"{name} is gone" for name in sorted(lost)]
    found = []
    for kind in ("functions", "inline", "callbacks"):
        for name, (result, parameters) in getattr(old, kind).items():
            if name not in getattr(new, kind):
                found.append(f"{name} is gone")
                continue
            then = [result, *(c_type for _, c_type in parameters)]
            now_result, now_parameters = getattr(new, kind)[name]
            now = [now_result, *(c_type for _, c_type in now_parameters)]
            if then != now:
                found.append(f"{name} was {then[0]} ({', '.join(then[1:])}), is {now[0]} ({', '.join(now[1:])})")
    for name, value in [*old.enumerators.items(), *old.macros.items()]:
        now = {**new.enumerators, **new.macros}.get(name)
        if now != value and not name.startswith("SEGLOSS_VERSION"):
            found.append(f"{name} was {value}, is {now}")
    for struct, fields in old.structs.items():
        now = dict(new.structs[struct])
        may_grow = fields[0][0] == "struct_size"
        for name, c_type in fields:
            place = f"{struct}.{name}"
            if name not in now:
                found.append(f"{place} is gone")
            elif (c_type, *old_layout[place]) != (now[name], *new_layout[place]):
                found.append(
                    f"{place} was {c_type} at {old_layout[place][0]}, is {now[name]} at {new_layout[place][0]}"
                )
        before, after = old_layout[struct][0], new_layout[struct][0]
        added = [name for name in now if name not in dict(fields)]
        if added and not may_grow:
            found.append(f"{struct} has got {', '.join(added)}, and older programs do not say its size")
        elif not added and before != after:
            found.append(f"{struct} had {before} bytes, has {after}")
        for name in added:  # what was padding is not zero in older programs
            if may_grow and new_layout[f"{struct}.{name}"][0] < before:
                found.append(f"{struct}.{name} stands within the {before} bytes of older programs")
    return found


if __name__ == "__main__":
    sentences = differences(*sys.argv[1:3])
    print("\n".join(sentences) or "programs keep working")
    sys.exit(bool(sentences))
