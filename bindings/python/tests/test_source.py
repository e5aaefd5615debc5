"""Whole builds from the source distribution, which take minutes: a wheel, and a Swift package that uses LossCore."""

import json
import re
import tarfile

import pytest
import segloss._library
from install_support import PACKAGE, ROOT, build, need, new_environment, pip, run
from test_install import IN_PYTHON, expected


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The unpacked source distribution, far from the checkout."""
    need("swift")
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(build("sdist", PACKAGE, folder / "sdist")) as archive:
        archive.extractall(folder, filter="data")
    return (folder / f"libsegloss-{segloss._library.VERSION}").rename(folder / "segloss")


def test_wheel(source, tmp_path):
    python = new_environment(tmp_path / "venv")
    pip(python, "install", "--quiet", build("wheel", source, tmp_path / "wheel"))
    assert run(python, "-I", "-c", IN_PYTHON, cwd=tmp_path) == expected()


def test_swift_package(source):
    """Guides/Swift.md: a package beside this one, which it names by its path. The build folder is the one above, where the
    kernels are ready."""
    guide = (ROOT / "Guides" / "Swift.md").read_text()
    folder = source.parent / "user"
    for name, text in re.findall(r"^`([\w./]+)`:\n\n```swift\n(.*?)^```", guide, re.M | re.S):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (wanted,) = re.findall(r"^```text\n(.*?)^```", guide, re.M | re.S)
    (command,) = re.findall(r"^```sh\n(.*?)\n```", guide, re.M | re.S)
    *words, name = command.split()
    printed = run(*words, "--scratch-path", source / ".build", name, cwd=folder)
    assert printed.endswith(wanted)
    loss, _, gradient = wanted.splitlines()
    assert f"{segloss.__version__} {float(loss):.12f} {json.loads(gradient)[0]:.6f}\n" == expected()
