"""What every test run shares: hypothesis profiles, terminal, signals, markers.

`ci` (default) draws the same examples every time, so a red run is red for everybody; `thorough` draws
new ones and more of them. Choose with HYPOTHESIS_PROFILE.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from attnfuse import processes
from attnfuse.tracing import runner
from tests.lite.selection import pytest_collection_modifyitems, pytest_terminal_summary
from tests.support import forks
from tests.support.markers import pytest_runtest_protocol

# What rich reads of the caller's terminal: a CI that asks for colours would have bars where tests expect lines.
for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(name, None)

# A shell's background job starts with Ctrl-C ignored, and so would all that tests start: attnfuse leaves it so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["pytest_collection_modifyitems", "pytest_runtest_protocol", "pytest_terminal_summary"]

# A package of its own: tests/project/test_example_plugin.py runs its tests, where it is installed.
collect_ignore = ["plugin"]

# No deadline: two cores shared with subprocess tests make single examples slow without being wrong.
settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", max_examples=2_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session", autouse=True)
def _forked_workers() -> Iterator[None]:
    """MindSpore is imported once in a session, and what needs it is forked from there."""
    forks.begin()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "run", forks.run)
        patch.setattr(runner, "workers", forks.workers)
        yield
    forks.close()
