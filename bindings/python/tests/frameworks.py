"""Which frameworks take part. All of them, and a missing one is a failure, unless SEGLOSS_TEST_FRAMEWORKS names fewer
("torch", "")."""

import importlib
import importlib.util
import os

import pytest

ALL = ("torch", "paddle", "tensorflow", "jax")
STRICT = os.environ.get("SEGLOSS_TEST_STRICT") == "1"


def not_run(why):
    """What this machine lacks: printed, and with SEGLOSS_TEST_STRICT=1 a failure."""
    (pytest.fail if STRICT else pytest.skip)(f"NOT RUN: {why}")


def skip_if_left_out(name):
    wanted = os.environ.get("SEGLOSS_TEST_FRAMEWORKS")
    if wanted is not None and name not in wanted.replace(",", " ").split():
        pytest.skip(f"SEGLOSS_TEST_FRAMEWORKS leaves out {name}", allow_module_level=True)


def framework_elsewhere(name):
    """The same for one that runs in a process of its own: it is not imported here."""
    skip_if_left_out(name)
    if importlib.util.find_spec(name) is None:
        pytest.fail(
            f"{name} is not installed; install requirements-test.txt or set SEGLOSS_TEST_FRAMEWORKS", pytrace=False
        )


def framework(name):
    """The framework's module; called at the top of a test module, it skips that module only where it was left out on
    purpose."""
    skip_if_left_out(name)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.fail(
            f"{name} is not installed ({error}); install requirements-test.txt or set SEGLOSS_TEST_FRAMEWORKS",
            pytrace=False,
        )
