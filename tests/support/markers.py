"""A test without the marker `mindspore` gets no MindSpore, neither in this process nor in one that it starts.

So `-m "not mindspore"` runs where MindSpore is not installed, and a test that was not marked fails wherever it runs.
tests/conftest.py makes the hook known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

UNMARKED = str(Path(__file__).with_name("unmarked"))
"""What a process finds here hides the package of the same name."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Around fixtures too, whatever their scope."""
    if item.get_closest_marker("mindspore"):
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(UNMARKED)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (UNMARKED, os.environ.get("PYTHONPATH")))))
        return (yield)
