"""What a version of include/losses.h declares, as a C parser reads it."""

import pathlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field

from pycparser import c_ast, c_generator, c_parser

# The header needs no more of <stdint.h> than these names.
STDINT = "".join(
    f"typedef {c_type} {name};\n"
    for name, c_type in {
        "int8_t": "signed char",
        "uint8_t": "unsigned char",
        "int16_t": "short",
        "uint16_t": "unsigned short",
        "int32_t": "int",
        "uint32_t": "unsigned",
        "int64_t": "long long",
        "uint64_t": "unsigned long long",
    }.items()
)


@dataclass
class Header:
    """Names and types in the header's order; a type is C's text without the name that it declares."""

    functions: dict[str, tuple[str, list[tuple[str, str]]]] = field(default_factory=dict)  # result, (name, type)...
    inline: dict[str, tuple[str, list[tuple[str, str]]]] = field(default_factory=dict)
    structs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    callbacks: dict[str, tuple[str, list[tuple[str, str]]]] = field(default_factory=dict)
    enumerators: dict[str, int] = field(default_factory=dict)
    macros: dict[str, int] = field(default_factory=dict)


def compiler():
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if found is None:
        raise FileNotFoundError("no C compiler: none of cc, gcc, clang is installed")
    return found


def type_of(node):
    """The type of a declaration without its name: `const double *`, `int64_t [6]`."""
    text = c_generator.CGenerator()._generate_type(node, emit_declname=False)
    return " ".join(text.split())


def parameters(function):
    declared = function.args.params if function.args else []
    return [(p.name, type_of(p.type)) for p in declared if isinstance(p, c_ast.Decl)]


def signature(function):
    return type_of(function.type), parameters(function)


def read(path):
    """Reads a header."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "stdint.h").write_text(STDINT)
        text = subprocess.run(
            [compiler(), "-E", "-P", "-nostdinc", f"-I{folder}", str(path)], check=True, text=True, capture_output=True
        ).stdout
    header = Header()
    for node in c_parser.CParser().parse(text).ext:
        if isinstance(node, c_ast.FuncDef):
            header.inline[node.decl.name] = signature(node.decl.type)
        elif isinstance(node, c_ast.Typedef):
            inner = node.type
            if isinstance(inner, c_ast.PtrDecl):
                header.callbacks[node.name] = signature(inner.type)
            elif isinstance(inner.type, c_ast.Struct):
                header.structs[node.name] = [(f.name, type_of(f.type)) for f in inner.type.decls]
            elif isinstance(inner.type, c_ast.Enum):
                enumerate_(header, inner.type)
        elif isinstance(node, c_ast.Decl):
            if isinstance(node.type, c_ast.FuncDecl):
                header.functions[node.name] = signature(node.type)
            elif isinstance(node.type, c_ast.Enum):
                enumerate_(header, node.type)
            else:
                raise ValueError(f"{path}: what is {node.name or node}?")
    for name, value in re.findall(r"^#define (SEGLOSS_\w+) (\d+)$", pathlib.Path(path).read_text(), re.M):
        header.macros[name] = int(value)
    return header


def enumerate_(header, enum):
    value = -1
    for enumerator in enum.values.enumerators:
        value = int(c_generator.CGenerator().visit(enumerator.value), 0) if enumerator.value else value + 1
        header.enumerators[enumerator.name] = value
