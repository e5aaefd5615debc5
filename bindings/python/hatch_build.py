"""Builds the libraries with SwiftPM and puts them, with header, pkg-config file and CMake package, into the wheel; puts
what they are built from into the source distribution."""

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The losses, and what registers them with TensorFlow.
PRODUCTS = ("segloss", "segloss_tensorflow")
# What they are built from, and the tests that Package.swift names.
SOURCES = ("Package.swift", "include", "bindings/c", "Tests/LossCoreTests")


class LibraryHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version, build_data):
        self._folder = tempfile.TemporaryDirectory()  # until the archive is written
        # A source distribution has Package.swift at its top; in the repository this folder is two below it.
        here = Path(self.root).resolve()
        package = here if (here / "Package.swift").exists() else here.parents[1]
        if self.target_name == "sdist":
            self._add_sources(package, build_data["force_include"])
        else:
            self._add_libraries(package, build_data, is_editable=version == "editable")

    def _add_sources(self, package, include):
        for name in SOURCES:
            include[str(package / name)] = name
        include.pop(os.path.join(self.root, "LICENSE"), None)  # in the repository a link to the one at the top
        include[str(package / "LICENSE")] = "LICENSE"
        # The kernels are one folder under three names. Archives hold links to files alone, so a link for each file.
        staged = Path(self._folder.name)
        for folder in sorted((package / "Sources").iterdir()):
            if not folder.is_symlink():
                include[str(folder)] = f"Sources/{folder.name}"
                (staged / folder.name).symlink_to(folder)  # what the links below point to
                continue
            (staged / folder.name).mkdir()
            for file in sorted(folder.iterdir()):
                link = staged / folder.name / file.name
                link.symlink_to(Path("..") / os.readlink(folder) / file.name)
                include[str(link)] = f"Sources/{folder.name}/{file.name}"

    def _add_libraries(self, package, build_data, is_editable):
        if shutil.which("swift") is None:
            raise RuntimeError("building segloss needs Swift 6.3 (swift.org/install): `swift` is not on the PATH")
        for product in PRODUCTS:
            _run("swift", "build", "-c", "release", "--product", product, "--package-path", package)
        build = Path(_run("swift", "build", "-c", "release", "--show-bin-path", "--package-path", package).strip())
        install = _module(package / "bindings" / "c" / "install.py").install
        if is_editable:
            install(build, package / ".build" / "prefix")  # found there by segloss._library
            return
        staged = Path(self._folder.name)
        install(build, staged, links=False)
        build_data["force_include"][str(staged)] = "segloss"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform(staged)}"


def _platform(folder):
    """The platform tag of the libraries in a folder: the newest glibc that one of them names."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    names = b"".join(path.read_bytes() for path in sorted((folder / "lib").glob("libsegloss*.so*")))
    glibc = max(int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)(?=[.\0])", names))
    return platform.replace("linux", f"manylinux_2_{glibc}", 1)


def _run(*command):
    environment = {**os.environ, "SEGLOSS_EMBEDDED": "1"}
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise RuntimeError(f"`{' '.join(map(str, command))}` failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def _module(path):
    """A Python file that is not on the path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
