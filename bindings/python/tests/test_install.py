"""Every way to install, as a user goes it, from empty folders: the wheel, `make install`, pip's editable mode; and C and
C++ programs that find header and library by CMake, by pkg-config and by hand."""

import email
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile

import pytest
import segloss._library
from frameworks import not_run
from install_support import PACKAGE, ROOT, build, environment, need, new_environment, once, pip, run

VERSION = segloss._library.VERSION
# Dice of four logits in C and in C++, and in Python what they print.
PROGRAM = """
#include <losses.h>
#include <stdio.h>

int main(void) {
  float logits[4] = {2, -1, 0.5f, -3}, gradient[4];
  uint8_t mask[4] = {1, 0, 1, 0};
  int64_t shape[1] = {4};
  segloss_tensor input = segloss_from_dlpack(logits, SEGLOSS_DEVICE_CPU, 0, 1, SEGLOSS_TYPE_FLOAT, 32, 1, shape, 0, 0);
  segloss_tensor target = segloss_from_dlpack(mask, SEGLOSS_DEVICE_CPU, 0, 1, SEGLOSS_TYPE_UINT, 8, 1, shape, 0, 0);
  segloss_tensor grad = input;
  segloss_overlap_parts parts = {sizeof(segloss_overlap_parts), 0, 0, 0};
  grad.data = gradient;
  if (segloss_dice(&input, &target, NULL, NULL, 1.0, &parts, &grad, NULL, NULL) != SEGLOSS_OK) return 1;
  printf("%s %.12f %.6f\\n", segloss_version(), parts.loss, gradient[0]);
  return 0;
}
"""
IN_PYTHON = """
import numpy as np, segloss
value, gradient = segloss.DiceLoss().value_and_grad(np.array([2, -1, 0.5, -3], "f4"), np.array([1, 0, 1, 0], "u1"))
print(f"{segloss.__version__} {value:.12f} {gradient[0]:.6f}")
"""
STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]


def expected():
    return subprocess.run([sys.executable, "-c", IN_PYTHON], check=True, text=True, capture_output=True).stdout


# ---- The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    need("swift")
    (wheel,) = once(tmp_path_factory, "wheel", lambda folder: build("wheel", PACKAGE, folder)).iterdir()
    return wheel


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Python of a new environment in which the wheel has been installed, with what it asks for."""
    folder = once(tmp_path_factory, "environment", lambda f: pip(new_environment(f), "install", "--quiet", wheel))
    return folder / "bin" / "python"


def test_wheel(wheel):
    assert re.fullmatch(rf"libsegloss-{re.escape(VERSION)}-py3-none-manylinux_2_\d+_\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"libsegloss-{VERSION}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["Name"], metadata["Version"]) == ("libsegloss", VERSION)
    requirements = metadata.get_all("Requires-Dist")
    assert [r for r in requirements if "extra ==" not in r] == ["numpy"]
    assert set(metadata.get_all("Provides-Extra")) == {"torch", "paddle", "tensorflow", "jax", "demo"}
    assert {
        "segloss/py.typed",
        "segloss/include/losses.h",
        "segloss/lib/libsegloss.so",
        "segloss/lib/libsegloss.so.0",
        "segloss/lib/libsegloss_tensorflow.so",
        "segloss/lib/pkgconfig/segloss.pc",
        "segloss/lib/cmake/segloss/seglossConfig.cmake",
        "segloss/lib/cmake/segloss/seglossConfigVersion.cmake",
    } <= names
    modules = {str(p.relative_to(PACKAGE / "src")) for p in (PACKAGE / "src").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_auditwheel_finds_the_tag_right(wheel):
    """The libraries need nothing that the tag does not promise, and the tag promises no more than they need."""
    if importlib.util.find_spec("auditwheel") is None:
        not_run("auditwheel is not installed")
    report = " ".join(run(sys.executable, "-m", "auditwheel", "show", wheel).split())
    tag = re.search(r'consistent with the following platform tag: "(\w+)"', report)[1]
    assert wheel.name.endswith(f"-{tag}.whl")


def test_without_swift(tmp_path):
    """What is needed to build stands in the build's error."""
    here = environment()
    here["PATH"] = sysconfig.get_path("scripts")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, PACKAGE]
    assert "building segloss needs Swift 6.3 (swift.org/install)" in run(*command, env=here, fails=True)


def test_from_any_folder(python, tmp_path):
    """In an environment with numpy alone, isolated from this checkout and its variables."""
    printed = run(python, "-I", "-c", IN_PYTHON, cwd=tmp_path)
    assert printed == expected()
    names = [line.split("==")[0] for line in pip(python, "list", "--format=freeze").split()]
    assert sorted(names) == ["libsegloss", "numpy"]
    loaded = run(python, "-I", "-c", "import segloss._abi; print(segloss._abi.lib._name)", cwd=tmp_path).strip()
    assert loaded.startswith(str(python.parents[1])) and loaded.endswith("site-packages/segloss/lib/libsegloss.so.0")


def test_editable(tmp_path):
    """pip's editable mode builds, runs the checkout's own files, and has the folders for C and C++."""
    python = new_environment(tmp_path / "venv")
    pip(python, "install", "--quiet", "--editable", PACKAGE)
    assert run(python, "-I", "-c", IN_PYTHON, cwd=tmp_path) == expected()
    folders = run(
        python, "-I", "-c", "from segloss._library import *; import segloss._library as l\n"
        "print(l.__file__, l.include_dir() / 'losses.h', l.lib_dir() / 'libsegloss.so', "
        "l.cmake_dir() / 'seglossConfig.cmake', sep='\\n')", cwd=tmp_path,
    ).splitlines()  # fmt: skip
    assert folders[0] == str(PACKAGE / "src" / "segloss" / "_library.py")
    for file in folders:
        assert ROOT in (path := ROOT / file).parents and path.exists(), file


# ---- C and C++


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """`make install` into a staging folder, which is then moved: nothing may remember where it was."""
    need("swift")
    variables = ["PREFIX=/usr/local", f"PYTHON={sys.executable}"]

    def make_install(folder):
        run(need("make"), "-C", ROOT, "install", *variables, f"DESTDIR={folder / 'staged'}")
        shutil.move(folder / "staged" / "usr" / "local", folder / "moved by hand")

    return once(tmp_path_factory, "prefix", make_install) / "moved by hand"


@pytest.fixture(scope="module", params=["make install", "wheel"])
def installed(request):
    """The folders of header, library and CMake package, for each way to have them."""
    if request.param == "wheel":
        python = request.getfixturevalue("python")
        command = "import segloss._library as l; print(l.include_dir(), l.lib_dir(), l.cmake_dir(), sep='\\n')"
        return [ROOT / line for line in run(python, "-I", "-c", command).splitlines()]
    prefix = request.getfixturevalue("prefix")
    return [prefix / "include", prefix / "lib", prefix / "lib" / "cmake" / "segloss"]


@pytest.fixture(params=["c99", "c++11"])
def language(request, tmp_path):
    """(compiler, options, source file) of the program in C or C++."""
    if request.param == "c99":
        compiler, source = need("cc", "gcc", "clang"), tmp_path / "program.c"
    else:
        compiler, source = need("c++", "g++", "clang++"), tmp_path / "program.cpp"
    source.write_text(PROGRAM)
    return compiler, [f"-std={request.param}", *STRICT], source


def test_make_install(prefix):
    lib = prefix / "lib"
    assert {str(p.relative_to(prefix)) for p in prefix.rglob("*") if not p.is_dir()} == {
        "include/losses.h",
        "lib/libsegloss.so",
        "lib/libsegloss.so.0",
        f"lib/libsegloss.so.{VERSION}",
        "lib/libsegloss_tensorflow.so",
        "lib/pkgconfig/segloss.pc",
        "lib/cmake/segloss/seglossConfig.cmake",
        "lib/cmake/segloss/seglossConfigVersion.cmake",
    }
    assert (lib / "libsegloss.so").readlink().name == "libsegloss.so.0"
    assert (lib / "libsegloss.so.0").readlink().name == f"libsegloss.so.{VERSION}"
    for text in (lib / "pkgconfig" / "segloss.pc", *(lib / "cmake" / "segloss").iterdir()):
        assert "/usr" not in text.read_text() and "@" not in text.read_text()


def test_by_hand(installed, language, tmp_path):
    include, lib, _ = installed
    compiler, options, source = language
    run(compiler, *options, source, f"-I{include}", f"-L{lib}", "-lsegloss", f"-Wl,-rpath,{lib}", "-o", tmp_path / "p")
    assert run(tmp_path / "p", cwd=tmp_path) == expected()


def test_by_pkg_config(installed, language, tmp_path):
    _, lib, _ = installed
    compiler, options, source = language
    variables = environment(PKG_CONFIG_PATH=str(lib / "pkgconfig"))
    flags = run(need("pkg-config", "pkgconf"), "--cflags", "--libs", f"segloss = {VERSION}", env=variables)
    script = f'"$0" {" ".join(options)} "$1" {flags.strip()} -o p'
    run("sh", "-c", script, compiler, source, cwd=tmp_path)
    # Not on the system's paths: the program finds the library by a variable.
    assert run(tmp_path / "p", env=environment(LD_LIBRARY_PATH=str(lib))) == expected()


def cmake_project(folder, source, request="segloss 0.1"):
    (folder / "CMakeLists.txt").write_text(f"""
cmake_minimum_required(VERSION 3.16)
project(user C CXX)
find_package({request} REQUIRED)
find_package({request} REQUIRED) # twice, as where two of a program's parts ask for it
add_executable(p {source.name})
target_link_libraries(p PRIVATE segloss::segloss)
""")


def test_by_cmake(installed, language, tmp_path):
    _, _, package = installed
    compiler, options, source = language
    cmake_project(tmp_path, source)
    variable = "CMAKE_C" if source.suffix == ".c" else "CMAKE_CXX"
    run(
        need("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-Dsegloss_DIR={package}",
        f"-D{variable}_COMPILER={compiler}", f"-D{variable}_FLAGS={' '.join(options)}",
    )  # fmt: skip
    run(need("cmake"), "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "p", cwd=tmp_path) == expected()


@pytest.mark.parametrize(
    "request_, accepted",
    [("segloss", True), ("segloss 0.1.0 EXACT", True), ("segloss 0.1.9", False), ("segloss 0.2", False),
     ("segloss 0.0", False), ("segloss 1.0", False)],
)  # fmt: skip
def test_versions_that_cmake_accepts(prefix, tmp_path, request_, accepted):
    source = tmp_path / "program.c"
    source.write_text(PROGRAM)
    cmake_project(tmp_path, source, request_)
    printed = run(
        need("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}", fails=not accepted
    )
    assert accepted or f"version: {VERSION}" in printed


# ---- One version


def test_versions(prefix):
    """pkg-config, CMake, soname and changelog say what the package says (the wheel: `test_wheel`; header and library:
    `test_abi.py`)."""
    assert f"\nVersion: {VERSION}\n" in (prefix / "lib/pkgconfig/segloss.pc").read_text()
    version_file = prefix / "lib/cmake/segloss/seglossConfigVersion.cmake"
    assert f'PACKAGE_VERSION "{VERSION}"' in version_file.read_text()
    assert f"({VERSION})" in (ROOT / "CHANGELOG.md").read_text()
    soname = run(need("readelf"), "-d", prefix / "lib" / "libsegloss.so")
    assert f"[libsegloss.so.{VERSION.split('.')[0]}]" in soname


# ---- The source distribution


def test_source_distribution(tmp_path):
    """Holds what is in the repository and nothing else, links included; test_source.py builds from it."""
    sdist = build("sdist", PACKAGE, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    top = tmp_path / f"libsegloss-{VERSION}"
    assert sdist.name == f"{top.name}.tar.gz"

    def contents(folder, *names):
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for name in names
            for path in [folder / name, *(folder / name).rglob("*"), *(folder / name).glob("LossKernelsAVX*/*")]
            if path.is_file() and "__pycache__" not in path.parts
        }

    names = ("Package.swift", "LICENSE", "include", "Sources", "Tests/LossCoreTests", "bindings/c")
    assert contents(top, *names) == contents(ROOT, *names)
    python = ("pyproject.toml", "hatch_build.py", "README.md", "src/segloss")
    assert contents(top, *python) == contents(PACKAGE, *python)
    for folder in ("LossKernelsAVX2", "LossKernelsAVX512"):
        files = list((top / "Sources" / folder).iterdir())
        assert files and all(file.is_symlink() for file in files)


# ---- Guides/Cpp.md


def test_guide(python, tmp_path):
    """From an empty folder: its files are written and its commands run in their order, and print what it says."""
    guide = (ROOT / "Guides" / "Cpp.md").read_text()
    # Python as a user of the wheel has it, with scikit-image, which the example's picture comes from.
    venv.create(tmp_path / "venv")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (installed,) = python.parents[1].glob("lib/python*/site-packages")
    (site / "user.pth").write_text(f"{installed}\n{sysconfig.get_path('purelib')}\n")
    folder = tmp_path / "empty"
    folder.mkdir()
    variables = environment(tmp_path / "venv" / "bin", HOME=str(tmp_path / "home"), SEGLOSS=str(ROOT))
    script, wanted = ["set -eu"], []
    for name, language, text in re.findall(r"(?:^`([\w.]+)`:\n\n)?^```(\w+)\n(.*?)^```", guide, re.M | re.S):
        if language == "sh":
            script.append(text)
        elif language == "text":
            wanted.append(text)
        else:
            assert name, f"{language}: a file without a name"
            (folder / name).write_text(text)
    printed = run("sh", "-c", "\n".join(script), cwd=folder, env=variables)
    assert wanted and all(text in printed for text in wanted)
    for text in ("the same four times", "in parts", "at first"):
        assert printed.count(text) == 1
    assert re.search(r"/\* (SEGLOSS_.*?) \*/", guide)[1] in printed
    in_parts, at_once = re.search(r"([\d.]+) in parts, ([\d.]+) at once", printed).groups()
    assert in_parts == at_once
    assert (folder / "result.ppm").read_bytes().startswith(b"P6 512 512 255\n")


def test_example_refuses_what_is_no_picture(prefix, tmp_path):
    """Compiled strictly; the other half, that it learns, is in the guide."""
    program = tmp_path / "example"
    flags = [f"-I{prefix / 'include'}", f"-L{prefix / 'lib'}", "-lsegloss", f"-Wl,-rpath,{prefix / 'lib'}"]
    source = ROOT / "Examples" / "cpp_dice_bce" / "cpp_dice_bce.cpp"
    run(need("c++", "g++", "clang++"), "-std=c++11", *STRICT, source, *flags, "-o", program)
    (tmp_path / "image.pgm").write_bytes(b"P5 200 200 255\n" + bytes(100))
    printed = run(program, tmp_path / "image.pgm", tmp_path / "none.pgm", tmp_path / "out.ppm", fails=True)
    assert "image.pgm is cut off" in printed
    assert "usage" in run(program, fails=True)
