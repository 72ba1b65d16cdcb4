"""The wheel where it is alone: in environments of the Pythons that hosts have, and resolved for aarch64."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.alone import run_alone
from tests.support.compiled import toy
from tests.support.loop_models import write_pipeline
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"
PYTHONS = ("3.9", "3.12")
ALONE = ROOT / "tests" / "support" / "runtime_alone.py"


def interpreter(version: str) -> str:
    """One of this version: on PATH, or among pyenv's. A pyenv shim may exist and not run, so each is asked."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = shutil.which(f"python{version}")
    for one in [*([found] if found else []), *map(str, root.glob(f"versions/{version}.*/bin/python"))]:
        asked = subprocess.run([one, "-c", "import venv"], capture_output=True, timeout=PATIENCE, check=False)
        if asked.returncode == 0:
            return one
    raise AssertionError(f"there is no Python {version} here; install one")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=RUNTIME,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.parametrize("version", PYTHONS)
def test_alone_it_binds_tokenizes_schedules_and_runs(version: str, wheel: Path, tmp_path: Path) -> None:
    environment, source = tmp_path / "environment", tmp_path / "source"
    run_alone([interpreter(version), "-m", "venv", environment])
    python = environment / "bin" / "python"
    run_alone([python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", wheel])
    source.mkdir()
    write_pipeline(source)
    shutil.copy(ALONE, tmp_path)
    shutil.copy(ROOT / "tests/support/lite_2_7.py", tmp_path / "mindspore_lite.py")
    # Isolated, but for the stand-in beside the script.
    said = run_alone([python, "-E", "-s", tmp_path / ALONE.name, toy(tmp_path), source])
    assert said.splitlines()[-1] == f"{version}: all as told"
    installed = run_alone([python, "-m", "pip", "list", "--format", "freeze"])
    assert "attnfuse-runtime" in installed
    for name in ("mindspore", "mindone", "torch", "transformers", "scipy", "attnfuse=="):
        assert name not in installed.lower()


@pytest.mark.parametrize("version", PYTHONS)
def test_there_are_wheels_of_all_it_needs_for_arm(version: str, wheel: Path) -> None:
    """Resolved for another host, from wheels alone."""
    asked = ("-m", "uv", "pip", "compile", "--quiet", "--only-binary", ":all:", "--no-header", "--no-annotate")
    host = ("--python-version", version, "--python-platform", "aarch64-manylinux2014")
    said = subprocess.run(
        [sys.executable, *asked, *host, "-"],
        input=f"attnfuse-runtime @ {wheel.as_uri()}",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert {"numpy", "pillow", "tokenizers"} <= {line.split("==")[0] for line in said.stdout.splitlines()}
