"""The wheels as a stranger installs them: each extra in an environment of its own, and resolved for aarch64."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.alone import run_alone

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
LIGHT = 160 * 2**20
"""Bytes that the core may take, with what it needs."""

COMPILE = ("compile", "demo:stable-diffusion", "-o", "out", "--progress", "never")
ONE = ("--component", "text_encoder")
PICTURE = ("run", "out", "--prompt", "a photo", "--steps", "1", "-o", "picture.png", "--progress", "never")
PROVED = {
    # Without an extra: one graph by itself.
    "": (("inspect", "graph.mindir", "--progress", "never"),),
    "store": (("inspect", "graph.mindir", "--cache-dir", "memory://farm", "--progress", "never"),),
    "trace": ((*COMPILE, *ONE),),
    "all": ((*COMPILE, *ONE, "--verify", "full"), COMPILE, PICTURE),
}
"""By extra, commands that need it and nothing else. Verification needs `trace` too: MindSpore infers types."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "runtime"):
        run_alone([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], project)
    return folder


def wheel(wheels: Path, extra: str) -> str:
    (path,) = wheels.glob("attnfuse-[0-9]*.whl")
    return f"attnfuse[{extra}] @ {path.as_uri()}" if extra else str(path)


@pytest.mark.mindspore
@pytest.mark.parametrize("extra", PROVED, ids=lambda extra: extra or "core")
def test_an_extra_brings_what_its_commands_need(extra: str, wheels: Path, tmp_path: Path) -> None:
    run_alone([UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "environment"], tmp_path)
    python = tmp_path / "environment/bin/python"
    run_alone(
        [UV, "pip", "install", "--quiet", "--python", python, "--find-links", wheels, wheel(wheels, extra)],
        tmp_path,
    )
    if not extra:
        taken = sum(path.lstat().st_size for path in (tmp_path / "environment").rglob("*") if path.is_file())
        assert taken < LIGHT
    graph = ROOT / "tests/corpus/ascend_sd3-bfloat16.mindir.xz"
    shutil.copy(graph, tmp_path / "graph.mindir.xz")
    run_alone(["xz", "--decompress", "graph.mindir.xz"], tmp_path)
    for command in PROVED[extra]:
        run_alone([python, "-m", "attnfuse", *command], tmp_path)


@pytest.mark.parametrize("extra", PROVED, ids=lambda extra: extra or "core")
def test_it_resolves_for_aarch64(extra: str, wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "requirements.in").write_text(wheel(wheels, extra) + "\n")
    target = ("--python-version", "3.11", "--python-platform", "aarch64-manylinux_2_28", "--only-binary", ":all:")
    found = run_alone([UV, "pip", "compile", "--quiet", "--find-links", wheels, *target, "requirements.in"], tmp_path)
    assert "numpy==" in found
