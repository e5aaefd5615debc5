"""Writes the table that the fuzzer's harness is driven by: every function of include/losses.h with the kind of each of its
parameters, and every struct that begins with its size. A parameter of a kind that is not known here is an error, so that no
function is left out quietly.

    python generate.py include/losses.h > calls.h
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from header import read

SCALARS = {"double": "DOUBLE", "int32_t": "INT32", "uint32_t": "UINT32", "int64_t": "INT64"}
CALLBACKS = ("segloss_run", "segloss_omp_parallel", "segloss_omp_max_threads")
# Places in the harness's union of argument values.
SLOTS = {"double": "d", "int32_t": "i", "uint32_t": "i", "int64_t": "i"}


# Called in place of others, by the harness; and its arguments.
IN_A_STRUCT = "segloss_program_run", "segloss_program_call"


def is_output(function, name):
    """Whether a tensor is written."""
    return (
        (name.startswith("grad_") and name != "grad_output")
        or name in ("out", "values", "value")
        or (function == "segloss_ctpn_anchor_targets" and name.startswith("rpn_"))
    )


def kind_of(header, function, name, c_type):
    """The kind of a parameter, and the struct that it points to."""
    struct = re.sub(r"const | \*", "", c_type)
    if c_type == "const segloss_tensor *":
        if name in ("preds", "grad_preds"):
            return ("LEVEL_GRADIENTS" if name == "grad_preds" else "LEVELS"), None
        if name == "arrays":
            return "ARRAYS", None
        return ("OUTPUT" if is_output(function, name) else "INPUT"), None
    if c_type == "const segloss_tensor * const *":
        return "GRADIENTS", None
    if c_type == "segloss_tensor *":
        return "DESCRIPTION", None
    if struct in header.structs and header.structs[struct][0][0] == "struct_size":
        return ("OPTIONS" if c_type.startswith("const") else "PARTS"), struct
    known = {
        ("const double *", "statistics"): "STATISTICS_IN",
        ("double *", "statistics"): "STATISTICS_OUT",
        ("double *", "parts"): "PROGRAM_PARTS",
        ("double *", "level_parts"): "LEVEL_PARTS",
        ("int64_t *", "statistics"): "COUNT_OUT",
        ("int64_t *", "parts"): "COUNT_OUT",
        ("int64_t", "length"): "LENGTH",
        ("int64_t", "parts_length"): "PARTS_LENGTH",
        ("int64_t", "size"): "PROGRAM_SIZE",
        ("int32_t", "levels"): "LEVEL_COUNT",
        ("int32_t", "count"): "ARRAY_COUNT",
        ("const void *", "program"): "PROGRAM",
        ("segloss_error *", "error"): "ERROR",
        ("segloss_mt19937 *", "generator"): "GENERATOR",
        ("segloss_run", "run"): "RUNNER",
        ("segloss_omp_parallel", "parallel"): "TEAM",
        ("segloss_omp_max_threads", "max_threads"): "TEAM_SIZE",
        ("int32_t *", "passes"): "COUNT_OUT",
        ("void *", "context"): "CONTEXT",
        ("void *", "call_frame"): "FRAME",
    }
    if (c_type, name) in known:
        return known[c_type, name], None
    if c_type in SCALARS:
        return SCALARS[c_type], None
    raise ValueError(f"{function}: {name} is of a kind that the fuzzer does not know: {c_type}")


def fields(header, struct):
    for name, c_type in header.structs[struct]:
        if name == "struct_size" or re.search(r"\[", c_type):
            continue
        if c_type == "const double *":
            yield name, "DOUBLES", None
        elif c_type == "const int64_t *":
            yield name, "INDICES", None
        elif c_type.endswith(" *"):
            yield name, "STRUCT", re.sub(r"const | \*", "", c_type)
        elif name.endswith("_length"):
            continue  # goes with its pointer
        else:
            yield name, SCALARS[c_type], None


def main(path):
    header = read(path)
    structs = [
        name for name, members in header.structs.items() if members[0][0] == "struct_size" and name not in IN_A_STRUCT
    ]
    out = ["/* Written by generate.py from losses.h. */\n"]
    for struct in structs:
        default = f"{struct}_default"
        if default in header.inline:
            argument = "variant" if header.inline[default][1] else ""
            out.append(
                f"static void default_{struct}(void *to, int variant) {{\n  {struct} o = {default}({argument});\n"
                f"  (void)variant;\n  memcpy(to, &o, sizeof o);\n}}"
            )
        rows = []
        for name, kind, pointee in fields(header, struct):
            length = f"offsetof({struct}, {name}_length)" if kind in ("DOUBLES", "INDICES") else "0"
            index = structs.index(pointee) if pointee else -1
            rows.append(f'  {{"{name}", FIELD_{kind}, offsetof({struct}, {name}), {length}, {index}}},')
        out.append(f"static const field fields_{struct}[] = {{\n" + "\n".join(rows) + "\n  {NULL, 0, 0, 0, 0}};")
    out.append("\nstatic const layout layouts[] = {")
    for struct in structs:
        default = f"default_{struct}" if f"{struct}_default" in header.inline else "NULL"
        out.append(f'  {{"{struct}", sizeof({struct}), fields_{struct}, {default}}},')
    out.append("};\n")
    table = []
    rows = {name: function for name, function in header.functions.items() if name not in IN_A_STRUCT}
    for name, (result, parameters) in rows.items():
        kinds = [kind_of(header, name, parameter, c_type) for parameter, c_type in parameters]
        values = ", ".join(
            (f"({c_type})" if c_type in SCALARS and c_type != "double" else "")
            + (f"({c_type})(uintptr_t)a[{i}].i" if c_type in CALLBACKS else f"a[{i}].{SLOTS.get(c_type, 'p')}")
            for i, (_, c_type) in enumerate(parameters)
        )
        call = f"{name}({values})"
        body = {
            "void": f"{call};\n  return 0;",
            "int32_t": f"return {call};",
        }.get(result, f"return (int64_t)(intptr_t){call};")
        out.append(f"static int64_t call_{name}(const value *a) {{\n  (void)a;\n  {body}\n}}")
        out.append(f"static const parameter parameters_{name}[] = {{")
        out += [
            f'  {{"{parameter}", {kind}, {structs.index(struct) if struct else -1}}},'
            for (parameter, _), (kind, struct) in zip(parameters, kinds)
        ]
        out.append("  {NULL, 0, 0}};")
        returns = (
            "STATUS"
            if result == "int32_t" and ("error", "segloss_error *") in parameters
            else ("TEXT" if result == "const char *" else "OTHER")
        )
        table.append(f'  {{"{name}", call_{name}, parameters_{name}, {len(parameters)}, RETURNS_{returns}}},')
    out += ["\nstatic const function_row functions[] = {", *table, "};\n"]
    out.append("/* What a program can name. */\nstatic const program_row programs[] = {")
    for name in header.functions:
        loss = name.removeprefix("segloss_")
        parameters = dict(header.functions[name][1])
        if loss.endswith(("_statistics", "_finish", "_items", "_backward", "_targets")) or "options" not in parameters:
            continue
        last = header.functions.get(f"{name}_backward", header.functions[name])[1]
        predictions = sum(n.startswith("grad_") and n != "grad_output" for n, t in last if "segloss_tensor" in t)
        options = structs.index(re.sub(r"const | \*", "", parameters["options"]))
        out.append(f'  {{"{loss}", {options}, {predictions}, {list(rows).index(name)}}},')
    out.append("};")
    print("\n".join(out))


if __name__ == "__main__":
    main(sys.argv[1])
