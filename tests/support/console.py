"""The `attnfuse` command as a user runs it: a process of its own, or the same without the cost of one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from attnfuse import cli
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]

_INSTALLED = "from attnfuse.__main__ import main; main()"
_TOY = (
    "import attnfuse.pass_manager as p; from tests.support.toy_pass import ToyPass; "
    "p.discover = lambda: (ToyPass(),); from attnfuse.cli import main; main()"
)


def command(*arguments: str | Path, toy: bool = False) -> list[str]:
    """The command line; with `toy`, the toy pass stands in for the installed ones."""
    return [sys.executable, "-c", _TOY if toy else _INSTALLED, *map(str, arguments)]


def environment(**settings: str) -> dict[str, str]:
    """The caller's environment with the checkout on the path, and the settings."""
    paths = (str(ROOT), str(ROOT / "passes"), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p), **settings}


def attnfuse(
    *arguments: str | Path,
    toy: bool = False,
    cwd: Path | None = None,
    timeout: float = PATIENCE,
    raw: bool = False,
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; `settings` are environment variables. With `raw` each byte is a character."""
    return subprocess.run(
        command(*arguments, toy=toy),
        env=environment(**settings),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="latin-1" if raw else None,
        text=True,
        timeout=timeout,
        check=False,
    )


def inside(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which has imported everything, and may fork what it starts (forks.py)."""
    with io.TextIOWrapper(io.BytesIO(), "utf-8") as out, io.TextIOWrapper(io.BytesIO(), "utf-8") as err:
        with redirect_stdout(out), redirect_stderr(err):
            code = cli.run([str(argument) for argument in arguments])
        told = []
        for stream in (out, err):
            stream.seek(0)
            told.append(stream.read())
    return subprocess.CompletedProcess(arguments, code, *told)


def logged(file: Path) -> list[str]:
    """The lines of what --log-file wrote, without their times."""
    return [line.split(" ", 2)[2] for line in file.read_text(encoding="utf-8").splitlines()]
