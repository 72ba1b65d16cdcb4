"""The numbered examples are listed, well formed, and run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = tuple(sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".sh", ".py")))


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_is_listed_and_well_formed(name: str) -> None:
    assert f"| `{name}` |" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    if name.endswith(".py"):
        ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))
    else:
        subprocess.run(["bash", "-n", EXAMPLES / name], check=True)


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize("name", SCRIPTS)
def test_each_runs(name: str, tmp_path: Path) -> None:
    command = ["bash" if name.endswith(".sh") else sys.executable, str(EXAMPLES / name)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
