"""The first and the last moment of the command: interrupted before it is imported, and no longer listened to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.console import command, environment, inside
from tests.support.waiting import PATIENCE

_INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "attnfuse.compiler":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from attnfuse.__main__ import main
main()
"""


def test_an_interrupt_during_the_imports_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, "passes"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted; nothing was written.\n")


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "attnfuse", "--version"], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("attnfuse, version ")


@pytest.mark.parametrize("arguments", [("policy", "schema"), ("passes",), ("--version",)])
def test_nobody_reads_on(arguments: tuple[str, ...]) -> None:
    """As `attnfuse … | head -1` may have it: quiet, and the exit code of whoever dies of a broken pipe."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command(*arguments), env=environment(), stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_name_that_no_file_can_have() -> None:
    done = inside("compile", ".", "-o", "o", "--subfolder", "a" * 300)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: the name ")
    assert said.endswith("aaa… is longer than that of a file can be.")
    assert len(said) < 200
