"""What a process knows of itself."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.support.console import environment

TELL = "import time; time.sleep(0.3); from attnfuse.processes import started_ns; print(started_ns())"


def test_when_it_was_started(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.touch()
    time.sleep(0.1)  # the kernel counts in hundredths of a second
    with subprocess.Popen(
        [sys.executable, "-c", TELL], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(0.1)
        after.touch()
        said, _ = process.communicate(timeout=120)
    assert before.stat().st_mtime_ns < int(said) < after.stat().st_mtime_ns


def test_it_ends_with_its_parent() -> None:
    """A grandchild whose parent was killed, or is another than it was told, ends by itself."""
    child = "import sys, time; from attnfuse.processes import die_with; die_with(int(sys.argv[1])); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", child, "1"], env=environment(), check=False, timeout=50)
    assert done.returncode == 1
    parent = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], env=environment(), stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        grandchild = Path("/proc") / held.stdout.readline().strip()
        held.kill()
    deadline = time.monotonic() + 50
    while grandchild.exists() and "zombie" not in (grandchild / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_the_first_signal_stops() -> None:
    """A second one, of another kind too, does not cut off what the first set off; after the patience it does."""
    child = (
        "import os, signal, time; from attnfuse.processes import stop_once; stop_once(patience=0.5)\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('cleaned up', flush=True)\n    time.sleep(0.6)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", child], env=environment(), check=False, timeout=50, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned up\n", "")
