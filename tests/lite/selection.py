"""Where MindSpore Lite's interpreter is; and where there is none, its tests (marked `lite`) left out, which is said.

tests/conftest.py makes the hooks known.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "ATTNFUSE_LITE_PYTHON"
"""Names the interpreter that has Lite 2.0.0; empty: there is none. tools/test.sh sets it."""

_WELL_KNOWN = Path(__file__).resolve().parents[2] / ".venv-lite" / "bin" / "python"

_LEFT_OUT = (
    "MindSpore Lite's tests are NOT run: there is no MindSpore Lite 2.0.0 here. "
    "bash tools/test.sh installs it where CPython 3.7 is present."
)


def interpreter() -> Path | None:
    """The interpreter to run Lite in: the variable's, else the one that tools/test.sh leaves; None without either."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    return _WELL_KNOWN if _WELL_KNOWN.exists() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect them."""
    if interpreter() is not None:
        return
    left_out = [item for item in items if item.get_closest_marker("lite")]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line, whatever was asked for: that a whole consumer is missing must not look like success."""
    if interpreter() is None:
        terminalreporter.write_line(_LEFT_OUT, yellow=True)
