"""Without Node these tests (marked `browser`) are left out, which is said."""

from __future__ import annotations

import shutil

import pytest

_LEFT_OUT = "The report is NOT looked at in a browser: there is no node and npm here, which run Chromium for it."


def _has_node() -> bool:
    return shutil.which("node") is not None and shutil.which("npm") is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect them."""
    if _has_node():
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line, where they were asked for or not."""
    if not _has_node():
        terminalreporter.write_line(_LEFT_OUT, yellow=True)
