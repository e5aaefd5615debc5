"""Whole builds from the source distribution, which take minutes: a wheel, and a Swift package that uses LossCore."""

import tarfile

import pytest
import segloss._library
from install_support import PACKAGE, build, need, new_environment, pip, run
from test_install import IN_PYTHON, expected

MANIFEST = """
// swift-tools-version: 6.1
import PackageDescription

let package = Package(
    name: "user",
    dependencies: [.package(name: "segloss", path: "{path}")],
    targets: [.executableTarget(name: "user", dependencies: [.product(name: "LossCore", package: "segloss")])])
"""
# What test_install.PROGRAM is in C, without a module that would bring in the C library.
MAIN = """
import LossCore

func view(_ name: StaticString, _ memory: UnsafeMutableRawBufferPointer, _ type: ElementType) throws(LossError) -> Tensor {
    try Tensor(name, data: memory.baseAddress, type: type, shape: Extents([4]), strides: nil)
}

let logits = UnsafeMutableBufferPointer<Float>.allocate(capacity: 4)
let mask = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 4)
let gradient = UnsafeMutableBufferPointer<Float>.allocate(capacity: 4)
_ = logits.update(fromContentsOf: [2, -1, 0.5, -3])
_ = mask.update(fromContentsOf: [1, 0, 1, 0])

let target = try view("target", UnsafeMutableRawBufferPointer(mask), .u8)
let dice = try OverlapLoss(
    Dice(smooth: 1), pred: view("input", UnsafeMutableRawBufferPointer(logits), .f32), target: target, mask: nil,
    Classes(), Execution())
let parts = try dice(gradOutput: 1, gradients: [view("gradient", UnsafeMutableRawBufferPointer(gradient), .f32)])
print(Library.version, parts.loss, gradient[0])

do {
    _ = try OverlapLoss(Dice(smooth: 1), pred: target, target: target, mask: nil, Classes(), Execution())
} catch {
    print(error.sentence)
}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The unpacked source distribution, far from the checkout."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(build("sdist", PACKAGE, folder / "sdist")) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"libsegloss-{segloss._library.VERSION}"


def test_wheel(source, tmp_path):
    need("swift")
    python = new_environment(tmp_path / "venv")
    pip(python, "install", "--quiet", build("wheel", source, tmp_path / "wheel"))
    assert run(python, "-I", "-c", IN_PYTHON, cwd=tmp_path) == expected()


def test_swift_package(source, tmp_path):
    """A package that depends on this one by its path; the build folder is the one above, where the kernels are ready."""
    (tmp_path / "Sources" / "user").mkdir(parents=True)
    (tmp_path / "Package.swift").write_text(MANIFEST.replace("{path}", str(source)).lstrip())
    (tmp_path / "Sources" / "user" / "main.swift").write_text(MAIN)
    command = [need("swift"), "run", "-c", "release", "--package-path", tmp_path, "--scratch-path", source / ".build"]
    *_, numbers, refusal = run(*command, "user").splitlines()
    version, loss, gradient = numbers.split()
    assert f"{version} {float(loss):.12f} {float(gradient):.6f}\n" == expected()
    assert refusal.startswith("input: ") and "uint8" in refusal
