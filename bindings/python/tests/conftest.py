"""What every test module of the bindings shares."""

import os

import pytest
from hypothesis import settings

# The same examples every time: a failure in CI is one that can be repeated.
settings.register_profile("segloss", derandomize=True, database=None, deadline=None, max_examples=60)
# Longer, and others every time: `make soak-properties`.
settings.register_profile("soak", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("SEGLOSS_TEST_PROFILE", "segloss"))


def pytest_configure(config):
    config.addinivalue_line("markers", "large: more than 2^24 elements")


@pytest.fixture
def threads():
    """Sets the number of threads; puts back what was there."""
    import segloss

    before = segloss.num_threads()
    yield segloss.set_num_threads
    segloss.set_num_threads(before)
