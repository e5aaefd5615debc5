"""Python's declarations against include/losses.h: structs, enums, functions, defaults, versions, exported symbols.

The header is read as text for what it declares; sizes, offsets, values and defaults come from a program that includes it.
"""

import ctypes
import inspect
import json
import pathlib
import re
import shutil
import subprocess

import pytest
import segloss
from frameworks import not_run
from segloss import _abi, _tensor, ctpn_anchors

ROOT = pathlib.Path(__file__).resolve().parents[3]
HEADER = ROOT / "include" / "losses.h"

# ---------------------------------------------------------------- what the header declares

TEXT = re.sub(r"/\*.*?\*/|^#.*?$|^extern \"C\" \{$", " ", HEADER.read_text(), flags=re.S | re.M)
INLINE = {name: struct for struct, name in re.findall(r"static inline (\w+) (\w+)\(", TEXT)}
DECLARATIONS = re.sub(r"static inline.*?\n\}", "", TEXT, flags=re.S)


def plain(c_type):
    return re.sub(r"\s*\*\s*", " *", " ".join(c_type.split())).strip()


def parameters(text):
    """[(type, name)]"""
    if text.strip() == "void":
        return []
    return [(plain(t), n) for t, n in (re.fullmatch(r"(.*?)(\w+)", p.strip(), re.S).groups() for p in text.split(","))]


STRUCTS = {
    name: [(plain(t), n, extent) for t, n, extent in re.findall(r"([\w ]+?[ *]+)(\w+)(?:\[(\w+)\])?;", body)]
    for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", DECLARATIONS, re.S)
}
ENUMERATORS = [
    name
    for body in re.findall(r"enum(?: \w+)? \{(.*?)\}", DECLARATIONS, re.S)
    for name in re.findall(r"(SEGLOSS_\w+)\s*=", body)
]
CALLBACKS = {
    name: (plain(result), parameters(arguments))
    for result, name, arguments in re.findall(r"typedef (\w+) \(\*(\w+)\)\((.*?)\);", DECLARATIONS, re.S)
}
FUNCTIONS = {
    name: (plain(result), parameters(arguments))
    for result, name, arguments in re.findall(
        r"^((?:const )?\w+[ *]+)(segloss_\w+)\((.*?)\);", DECLARATIONS, re.S | re.M
    )
}


def test_the_header_was_understood():
    """A declaration that these expressions miss would not be compared with anything."""
    assert len(FUNCTIONS) == len(set(re.findall(r"\b(segloss_\w+)\((?!\*)", DECLARATIONS)))
    assert len(STRUCTS) == DECLARATIONS.count("typedef struct")
    assert len(CALLBACKS) == DECLARATIONS.count("(*")
    assert len(ENUMERATORS) == len(set(re.findall(r"\bSEGLOSS_\w+(?=\s*=)", DECLARATIONS)))
    assert len(INLINE) == TEXT.count("static inline")
    for name, fields in STRUCTS.items():
        body = re.search(r"typedef struct " + name + r" \{(.*?)\}", DECLARATIONS, re.S)[1]
        assert len(fields) == body.count(";"), name


# ---------------------------------------------------------------- what a compiler makes of it

# Defaults that depend on a variant.
VARIANTS = {
    "segloss_db_options": _abi.DB_VARIANT,
    "segloss_ctpn_options": _abi.CTPN_VARIANT,
    "segloss_ctpn_anchor_targets_options": _abi.CTPN_VARIANT,
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Sizes, offsets, values and defaults as the C compiler has them."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        not_run("no C compiler: none of cc, gcc, clang is installed")
    lines = []
    for name, fields in STRUCTS.items():
        lines.append(f'printf("[\\"size\\", \\"{name}\\", %d],\\n", (int)sizeof({name}));')
        for _, field, _ in fields:
            lines.append(
                f'printf("[\\"field\\", \\"{name}.{field}\\", [%d, %d]],\\n", (int)offsetof({name}, {field}), '
                f"(int)sizeof((({name} *)0)->{field}));"
            )
    for name in [
        *ENUMERATORS,
        "SEGLOSS_MAX_RANK",
        *(f"SEGLOSS_VERSION_{part}" for part in ("MAJOR", "MINOR", "PATCH")),
    ]:
        lines.append(f'printf("[\\"value\\", \\"{name}\\", %d],\\n", (int){name});')
    for function, struct in INLINE.items():
        if not function.endswith("_default"):
            continue
        calls = (
            {f"{function}({v})": v for v in VARIANTS[struct].values()} if struct in VARIANTS else {f"{function}()": ""}
        )
        for call, variant in calls.items():
            lines.append(f"{{ {struct} o = {call};")
            for c_type, field, _ in STRUCTS[struct]:
                value = f"o.{field} != 0" if c_type.endswith("*") else f"o.{field}"
                lines.append(
                    f'printf("[\\"default\\", \\"{struct}{variant}.{field}\\", %.17g],\\n", (double)({value}));'
                )
            lines.append("}")
    folder = tmp_path_factory.mktemp("abi")
    (folder / "print.c").write_text(
        "#include <losses.h>\n#include <stddef.h>\n#include <stdio.h>\n\nint main(void) {\n  "
        + "\n  ".join(lines)
        + '\n  printf("null");\n  return 0;\n}\n'
    )
    subprocess.run(
        [compiler, "-std=c99", f"-I{HEADER.parent}", str(folder / "print.c"), "-o", str(folder / "print")], check=True
    )
    printed = subprocess.run([str(folder / "print")], check=True, text=True, capture_output=True).stdout
    found = {}
    for kind, name, value in json.loads(f"[{printed}]")[:-1]:
        found.setdefault(kind, {})[name] = value
    return found


# ---------------------------------------------------------------- structs


def same_name(c_name):
    return c_name.removeprefix("segloss_").replace("_", "").lower()


MIRRORS = {
    same_name("segloss_" + name): cls
    for name, cls in vars(_abi).items()
    if isinstance(cls, type) and issubclass(cls, ctypes.Structure) and hasattr(cls, "_fields_")
}
SCALARS = {
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
    "char": ctypes.c_char,
    "void *": ctypes.c_void_p,
}


def test_every_struct_has_its_mirror():
    assert {same_name(name) for name in STRUCTS} == set(MIRRORS)


@pytest.mark.parametrize("name", STRUCTS)
def test_struct(name, compiled):
    mirror = MIRRORS[same_name(name)]
    assert [field for field, *_ in mirror._fields_] == [field for _, field, _ in STRUCTS[name]]
    assert ctypes.sizeof(mirror) == compiled["size"][name]
    for (field, type_), (c_type, _, extent) in zip(mirror._fields_, STRUCTS[name]):
        descriptor = getattr(mirror, field)
        if name == "segloss_program_call" and c_type.endswith("*"):  # addresses as numbers
            assert type_ is ctypes.c_void_p, field
            c_type, type_ = "void", None
        assert [descriptor.offset, descriptor.size] == compiled["field"][f"{name}.{field}"], field
        assert (type_._type_ if extent else type_) is mirrored(c_type), f"{field}: {type_} for {c_type}"


# ---------------------------------------------------------------- enums

NUMBERS = {
    "SEGLOSS_ELEMENT_TYPE": _abi.STATUS_ELEMENT_TYPE,
    "SEGLOSS_OUT_OF_MEMORY": _abi.STATUS_OUT_OF_MEMORY,
    "SEGLOSS_INSTRUCTION_SET": _abi.STATUS_INSTRUCTION_SET,
    "SEGLOSS_DEVICE_CPU": _abi.DEVICE_CPU,
    "SEGLOSS_MAX_RANK": _abi.MAX_RANK,
    "SEGLOSS_BCE_PADDLE": _abi.BCE_PADDLE,
    "SEGLOSS_BCE_TORCH": _abi.BCE_TORCH,
    "SEGLOSS_BCE_LOGITS": _abi.BCE_LOGITS,
    **{f"SEGLOSS_{name.upper()}": number for name, number in _abi.NON_FINITE.items()},
    **{f"SEGLOSS_DB_{name.upper()}": number for name, number in _abi.DB_VARIANT.items()},
    "SEGLOSS_SIGMOID": _abi.ACTIVATION["sigmoid"],
    "SEGLOSS_SOFTMAX": _abi.ACTIVATION["softmax"],
    "SEGLOSS_NO_ACTIVATION": _abi.ACTIVATION["none"],
    **{f"SEGLOSS_{name.upper()}": number for name, number in {**_abi.AVERAGE, **_abi.REDUCTION}.items()},
    **{f"SEGLOSS_ABSENT_{name.upper()}": number for name, number in _abi.ABSENT.items()},
    **{f"SEGLOSS_FOCAL_{name.upper()}": number for name, number in _abi.FOCAL_VARIANT.items()},
    **{f"SEGLOSS_CTPN_{name.upper()}": number for name, number in _abi.CTPN_VARIANT.items()},
    **{f"SEGLOSS_STRUCTURE_{name.upper()}": number for name, number in _abi.STRUCTURE_VARIANT.items()},
    **{f"SEGLOSS_CONTOUR_{name.upper()}": number for name, number in _abi.CONTOUR_VARIANT.items()},
    **{f"SEGLOSS_BOUNDARY_{name.upper()}": number for name, number in _abi.BOUNDARY_VARIANT.items()},
    "SEGLOSS_STRUCTURE_LEVEL_PARTS": _abi.STRUCTURE_LEVEL_PARTS,
    "SEGLOSS_STRUCTURE_LEVEL_STATISTICS": _abi.STRUCTURE_LEVEL_STATISTICS,
    "SEGLOSS_DB_STATISTICS": _abi.DB_STATISTICS["published"],
    "SEGLOSS_DB_STATISTICS_PAPER": _abi.DB_STATISTICS["paper"],
    "SEGLOSS_DB_STATISTICS_SHRINK": _abi.DB_STATISTICS["shrink"],
    "SEGLOSS_DENSE": _abi.DENSE,
    "SEGLOSS_PROGRAM_FORWARD": _abi.PROGRAM_FORWARD,
    "SEGLOSS_PROGRAM_VALUE_AND_GRADIENT": _abi.PROGRAM_VALUE_AND_GRADIENT,
    "SEGLOSS_PROGRAM_VALUE": _abi.PROGRAM_VALUE,
    "SEGLOSS_PROGRAM_GRADIENT": _abi.PROGRAM_GRADIENT,
    "SEGLOSS_MAIN_DICE": _abi.MAIN_LOSS["DiceLoss"],
    "SEGLOSS_MAIN_BCE": _abi.MAIN_LOSS["BCELoss"],
    "SEGLOSS_MAIN_MASK_L1": _abi.MAIN_LOSS["MaskL1Loss"],
    "SEGLOSS_MAIN_DICE_OHEM": _abi.MAIN_LOSS["DiceOHEM"],
}


def test_enum_values(compiled):
    for name, number in NUMBERS.items():
        assert compiled["value"][name] == number, name


def test_no_number_is_left_out():
    constants = [value for name, value in vars(_abi).items() if name.isupper() and isinstance(value, (int, dict))]
    ours = [n for value in constants for n in (value.values() if isinstance(value, dict) else [value])]
    assert sorted(ours) == sorted(NUMBERS.values())


# Where the header has one number for several losses.
SHARED = {"dice": "overlap", "iou": "overlap", "tversky": "overlap", "focal_tversky": "overlap", "l1_balance_ce": "db"}
SHARED |= {"bce": "mean", "focal": "mean", "smooth_l1": "mean"}


@pytest.mark.parametrize("loss", [*_abi.LOSSES, _abi.STRUCTURE], ids=lambda loss: loss.name)
def test_statistics(loss, compiled):
    name = SHARED.get(loss.name, loss.name)
    assert loss.statistics == compiled["value"][f"SEGLOSS_{name.upper()}_STATISTICS"]


def test_element_types(compiled):
    prefix = {"float": "FLOAT", "bfloat": "BFLOAT", "int": "INT", "uint": "UINT", "bool": "BOOL"}
    for name, (code, bits) in _tensor._CODES.items():
        kind, digits = re.fullmatch(r"([a-z]+)(\d*)", name).groups()
        assert code == compiled["value"][f"SEGLOSS_TYPE_{prefix[kind]}"], name
        assert bits == int(digits or 8), name


# ---------------------------------------------------------------- functions


CALLBACK_TYPES = {
    "segloss_task": _abi.Task,
    "segloss_run": _abi.Run,
    "segloss_omp_body": _abi.OMPBody,
    "segloss_omp_parallel": _abi.OMPParallel,
    "segloss_omp_max_threads": _abi.OMPMaxThreads,
}


def mirrored(c_type):
    """The ctypes type that stands for a parameter's or a result's."""
    if c_type == "void":
        return None
    if c_type == "const char *":
        return ctypes.c_char_p
    if c_type in SCALARS:
        return SCALARS[c_type]
    if c_type in CALLBACKS:
        return CALLBACK_TYPES[c_type]
    base = c_type.removeprefix("const ").removesuffix(" *")
    assert c_type.endswith(" *"), c_type
    return ctypes.POINTER(MIRRORS[same_name(base)] if base in STRUCTS else SCALARS[base])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    result, arguments = FUNCTIONS[name]
    declared = vars(_abi.lib).get(name)
    assert declared is not None, f"{name} is not declared"
    assert declared.restype is mirrored(result)
    if name.startswith("segloss_program_"):  # addresses as numbers
        expected = [ctypes.c_void_p if type_.endswith("*") else mirrored(type_) for type_, _ in arguments]
    else:
        expected = [mirrored(type_) for type_, _ in arguments]
    assert list(declared.argtypes) == expected


def test_nothing_else_is_declared():
    assert {name for name in vars(_abi.lib) if name.startswith("segloss_")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback(name):
    result, arguments = CALLBACKS[name]
    ours = CALLBACK_TYPES[name]
    assert ours._restype_ is mirrored(result)
    assert list(ours._argtypes_) == [mirrored(type_) for type_, _ in arguments]


@pytest.mark.parametrize("loss", _abi.LOSSES, ids=lambda loss: loss.name)
def test_argument_names(loss):
    """Sentences name the header's parameters, and so Python's."""
    names = [name for _, name in FUNCTIONS[f"segloss_{loss.name}"][1]]
    gradients = [f"grad_{name}" for name in loss.predictions]
    assert names == [*loss.inputs, "options", "grad_output", "parts", *gradients, "execution", "error"]
    assert loss.has_items == (f"segloss_{loss.name}_items" in FUNCTIONS)
    if loss.has_items:
        names = [name for _, name in FUNCTIONS[f"segloss_{loss.name}_items"][1]]
        assert names == [*loss.inputs, "options", "grad_output", "values", *gradients, "execution", "error"]


# ---------------------------------------------------------------- defaults

MADE = {
    "segloss_mask_dice_options": lambda: segloss.MaskDiceLoss(),
    "segloss_mask_l1_options": lambda: segloss.MaskL1Loss(),
    "segloss_balance_options": lambda: segloss.BalanceLoss(),
    **{
        f"segloss_db_options{number}": lambda variant=variant: segloss.DBLoss(variant=variant)
        for variant, number in _abi.DB_VARIANT.items()
    },
    "segloss_l1_balance_ce_options": lambda: segloss.L1BalanceCELoss(),
    "segloss_dice_options": lambda: segloss.DiceLoss(),
    "segloss_dice_bce_options": lambda: segloss.DiceBCELoss(),
    "segloss_iou_options": lambda: segloss.IoULoss(),
    "segloss_tversky_options": lambda: segloss.TverskyLoss(),
    "segloss_focal_tversky_options": lambda: segloss.FocalTverskyLoss(),
    "segloss_bce_options": lambda: segloss.BCELoss(),
    "segloss_focal_options": lambda: segloss.FocalLoss(),
    "segloss_smooth_l1_options": lambda: segloss.SmoothL1Loss(),
    "segloss_cross_entropy_options": lambda: segloss.CrossEntropyLoss(),
    # The paper's variant has a policy of its own.
    **{
        f"segloss_ctpn_options{number}": lambda variant=variant: segloss.CTPNLoss(
            variant=variant, non_finite="propagate"
        )
        for variant, number in _abi.CTPN_VARIANT.items()
    },
    "segloss_structure_options": lambda: segloss.StructureLoss(),
    "segloss_active_contour_options": lambda: segloss.ActiveContourLoss(),
    "segloss_boundary_options": lambda: segloss.BoundaryLoss(),
}


def header_defaults(compiled, struct):
    return {name.split(".")[1]: value for name, value in compiled["default"].items() if name.split(".")[0] == struct}


def fields(struct):
    """A pointer counts as whether there is one; that to options of a loss's options is compared by itself."""
    found = {}
    for name, type_, *_ in struct._fields_:
        value = getattr(struct, name)
        is_pointer = hasattr(type_, "contents")
        found[name] = float(bool(value) and not isinstance(value.contents, _abi.Classes) if is_pointer else value)
    return found


def test_every_default_is_compared(compiled):
    compared = {*MADE, "segloss_execution", "segloss_db_step_options", "segloss_classes"}
    compared |= {f"segloss_ctpn_anchor_targets_options{number}" for number in _abi.CTPN_VARIANT.values()}
    assert {name.split(".")[0] for name in compiled["default"]} == compared


@pytest.mark.parametrize("struct", MADE)
def test_options_of_a_loss_made_without_any(struct, compiled):
    loss = MADE[struct]()
    assert fields(loss._options) == header_defaults(compiled, struct)
    assert fields(loss._execution) == header_defaults(compiled, "segloss_execution")
    if hasattr(loss._options, "classes"):
        assert fields(loss._options.classes.contents) == header_defaults(compiled, "segloss_classes")


@pytest.mark.parametrize("variant", _abi.CTPN_VARIANT)
def test_inside_weights_of_the_variants(variant, compiled):
    expected = header_defaults(compiled, f"segloss_ctpn_anchor_targets_options{_abi.CTPN_VARIANT[variant]}")
    assert ctpn_anchors._INSIDE_WEIGHTS[variant] == tuple(
        expected[f"inside_{name}"] for name in ("dx", "dy", "dw", "dh")
    )


# Where Python's name is the original's and the header's its own.
RENAMED = {"main_loss_type": "main_loss", "ohem_ratio": "negative_ratio"}
# Python's alone; and alpha and beta of DBLoss, which depend on the variant (compared above).
OURS = {"return_parts", "return_origin", "variant", "non_finite", "self"}
# Not used, or several of the header's in one: what a loss made without any has is compared above.
OURS |= {"size_average", "from_logits", "flavour", "reduction"}


@pytest.mark.parametrize(
    "cls, struct",
    [
        (segloss.MaskDiceLoss, "segloss_mask_dice_options"),
        (segloss.MaskL1Loss, "segloss_mask_l1_options"),
        (segloss.BalanceLoss, "segloss_balance_options"),
        (segloss.DBLoss, "segloss_db_options0"),
        (segloss.L1BalanceCELoss, "segloss_l1_balance_ce_options"),
        (segloss.db_step, "segloss_db_step_options"),
        (segloss.db_step_grad, "segloss_db_step_options"),
        *(
            (cls, f"segloss_{name}_options")
            for cls, name in (
                (segloss.DiceLoss, "dice"),
                (segloss.DiceBCELoss, "dice_bce"),
                (segloss.IoULoss, "iou"),
                (segloss.TverskyLoss, "tversky"),
                (segloss.FocalTverskyLoss, "focal_tversky"),
                (segloss.FocalLoss, "focal"),
                (segloss.SmoothL1Loss, "smooth_l1"),
                (segloss.CrossEntropyLoss, "cross_entropy"),
            )
        ),
        *(
            (cls, f"segloss_{name}_options{number}")
            for number in _abi.CTPN_VARIANT.values()
            for cls, name in ((segloss.CTPNLoss, "ctpn"), (segloss.ctpn_anchor_targets, "ctpn_anchor_targets"))
        ),
        (segloss.StructureLoss, "segloss_structure_options"),
        (segloss.ActiveContourLoss, "segloss_active_contour_options"),
        (segloss.active_contour_loss, "segloss_active_contour_options"),
        (segloss.BoundaryLoss, "segloss_boundary_options"),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_defaults_in_signatures(cls, struct, compiled):
    expected = header_defaults(compiled, struct)
    compared = 0
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in OURS or parameter.default is inspect.Parameter.empty or parameter.default is None:
            continue
        value = _abi.MAIN_LOSS[parameter.default] if name == "main_loss_type" else parameter.default
        assert float(value) == expected[RENAMED.get(name, name)], name
        compared += 1
    assert compared > 0
    if cls is segloss.DBLoss:
        assert {n for n, p in inspect.signature(cls).parameters.items() if p.default is None} <= {"alpha", "beta"}


# ---------------------------------------------------------------- the library file


def test_exported_symbols():
    """The functions of the header, and nothing else."""
    nm = shutil.which("nm") or shutil.which("llvm-nm")
    if nm is None:
        not_run("no nm")
    lines = subprocess.run(
        [nm, "-D", "-g", "--defined-only", _abi.lib._name], check=True, text=True, capture_output=True
    ).stdout
    exported = {line.split()[-1].split("@")[0] for line in lines.splitlines()}
    assert exported == set(FUNCTIONS)


def test_versions(compiled):
    header = ".".join(str(compiled["value"][f"SEGLOSS_VERSION_{part}"]) for part in ("MAJOR", "MINOR", "PATCH"))
    assert header == segloss.__version__ == segloss._library.VERSION
