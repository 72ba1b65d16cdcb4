"""A test that is not marked `mindspore` cannot have it, so that `-m "not mindspore"` runs without MindSpore."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAID = "a test that starts MindSpore is marked `mindspore`"


def test_it_cannot_be_imported_here() -> None:
    with pytest.raises(ImportError, match=SAID):
        __import__("mindspore")


def test_it_cannot_be_imported_by_a_process_that_a_test_starts() -> None:
    done = subprocess.run([sys.executable, "-c", "import mindspore"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{SAID}: tests/project/test_markers.py::" in done.stderr
