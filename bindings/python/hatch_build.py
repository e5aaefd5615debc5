"""Builds the shared libraries with SwiftPM and puts them into the wheel."""

import os
import pathlib
import shutil
import subprocess
import sysconfig

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The losses, and what registers them with TensorFlow.
PRODUCTS = ("segloss", "segloss_tensorflow")


class LibraryHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version, build_data):
        if version == "editable":
            return  # the loader finds the checkout's own build
        if shutil.which("swift") is None:
            raise RuntimeError("building segloss needs Swift 6.3 (swift.org/install): `swift` is not on the PATH")
        package = pathlib.Path(self.root).resolve().parents[1]
        for product in PRODUCTS:
            library = self._built(package, product)
            build_data["force_include"][str(library)] = f"segloss/{library.name}"
        build_data["pure_python"] = False
        # One library for every Python: ctypes knows no interpreter version.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"

    def _built(self, package, product):
        """The stripped library of a product."""
        command = ["swift", "build", "-c", "release", "--product", product, "--package-path", str(package)]
        result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SEGLOSS_EMBEDDED": "1"})
        if result.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` failed:\n{result.stdout}{result.stderr}")
        built = subprocess.run([*command, "--show-bin-path"], check=True, capture_output=True, text=True)
        library = pathlib.Path(built.stdout.strip()) / f"lib{product}.so"
        stripped = pathlib.Path(self.directory) / library.name
        stripped.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, stripped)
        if strip := shutil.which("strip"):
            subprocess.run([strip, "--strip-unneeded", stripped], check=True)
        return stripped
