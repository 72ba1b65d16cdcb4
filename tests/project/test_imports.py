"""The import contract in pyproject.toml holds, and fails when somebody breaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the contract of `tree`/pyproject.toml over the packages in `tree`, not over the installed ones."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in (tree, tree / "passes", tree / "runtime"))}
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=tree,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("attnfuse", "passes", "runtime"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_contract_holds(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "statement", "broken"),
    [
        ("attnfuse/errors.py", "import attnfuse.ir.graph", "The engine's imports run one way"),
        ("attnfuse/mindir/codec.py", "import attnfuse.ir.graph", "The engine's imports run one way"),
        ("attnfuse/verify/graph/sites.py", "import attnfuse.verify.numbers.data", "Verification's imports run one way"),
        ("attnfuse/mindir/dtypes.py", "import attnfuse.mindir.schema", "Element types and safetensors files are read"),
        ("attnfuse/tracing/parts.py", "import attnfuse.mindir.external", "The engine's imports run one way"),
        ("attnfuse/newcomer.py", "", "The engine's imports run one way"),
        ("attnfuse/ir/graph.py", "import attnfuse_passes", "The engine never imports the passes"),
        ("passes/attnfuse_passes/planted.py", "from attnfuse import graph", "A pass knows attnfuse.api"),
        ("attnfuse/tracing/planted.py", "import attnfuse.mindir.codec", "The engine's imports run one way"),
        ("attnfuse/tracing/planted.py", "import transformers", "Only what runs in a subprocess"),
        ("attnfuse/ir/graph.py", "import mindspore.nn", "Only what runs in a subprocess"),
        ("passes/attnfuse_passes/planted.py", "import mindone", "Only what runs in a subprocess"),
        ("attnfuse/cli/compile.py", "import attnfuse.tracing.weights", "Nobody else imports what runs"),
        ("attnfuse/ir/graph.py", "import onnxruntime", "Only verification needs"),
        ("runtime/attnfuse_runtime/noise.py", "import attnfuse.names", "The runtime needs neither MindSpore"),
        ("runtime/attnfuse_runtime/backends/lite.py", "import attnfuse.names", "The runtime needs neither MindSpore"),
        ("runtime/attnfuse_runtime/schedulers/ddim.py", "import mindone", "The runtime needs neither MindSpore"),
        (
            "runtime/attnfuse_runtime/noise.py",
            "import attnfuse_runtime.schedulers.ddim",
            "The runtime's imports run one",
        ),
    ],
)
def test_planted_import_is_caught(tree: Path, module: str, statement: str, broken: str) -> None:
    target = tree / module
    target.parent.mkdir(parents=True, exist_ok=True)
    (target.parent / "__init__.py").touch()
    with target.open("a", encoding="utf-8") as file:
        file.write(f"\n{statement}\n")
    result = lint(tree)
    assert result.returncode == 1, result.stdout + result.stderr
    verdicts = " ".join(result.stdout.split())  # the linter wraps long names
    assert any(broken in part and part.endswith("BROKEN") for part in split_verdicts(verdicts)), result.stdout


def split_verdicts(text: str) -> list[str]:
    """One string per contract, each ending in KEPT or BROKEN."""
    parts: list[str] = []
    current: list[str] = []
    for word in text.split(" "):
        current.append(word)
        if word in ("KEPT", "BROKEN"):
            parts.append(" ".join(current))
            current = []
    return parts
