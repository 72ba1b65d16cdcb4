"""The shell tools: they say in one line what is missing, from any folder, and never delete a stranger's work."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*(ROOT / "tools").glob("*.sh"), ROOT / ".ci" / "run"])


def run(program: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in bash with tools/lib.sh sourced."""
    env = {**os.environ, "CI": "true", "ATTNFUSE_MINDSPORE": "", **extra}
    return subprocess.run(
        ["bash", "-c", f'. "{ROOT}/tools/lib.sh"; {program}'],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_parses(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=PATIENCE)


@pytest.mark.parametrize("script", [p for p in SCRIPTS if p.name != "lib.sh"], ids=lambda path: path.name)
def test_script_is_executable(script: Path) -> None:
    assert os.access(script, os.X_OK)


def test_root_is_found_from_anywhere(tmp_path: Path) -> None:
    assert run('echo "$ROOT"', tmp_path).stdout.strip() == str(ROOT)


def test_python_3_11_is_found(tmp_path: Path) -> None:
    result = run("\"$(find_python)\" -c 'import sys; print(sys.version_info[:2])'", tmp_path)
    assert result.stdout.strip() == "(3, 11)"


def test_no_python_is_one_line(tmp_path: Path) -> None:
    result = run("find_python() { return 1; }; environment", tmp_path, ATTNFUSE_VENV=str(tmp_path / "venv"))
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "error: no Python 3.11 found: install one, or set ATTNFUSE_PYTHON to its path"
    ]


def test_a_folder_made_by_others_is_left_alone(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "thesis.txt").write_text("years of work", encoding="utf-8")
    result = run("environment", tmp_path, ATTNFUSE_VENV=str(venv))
    assert result.returncode == 1
    assert "was not made by these tools" in result.stderr
    assert (venv / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_a_ready_environment_is_not_installed_again(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    marker = venv / "attnfuse-environment"
    program = 'printf "%s\\n%s\\n" "$(digest "$ROOT/requirements.lock")"'
    program += ' "$ROOT $(digest "$ROOT/pyproject.toml")" >"$VENV/attnfuse-environment"; '
    program += "install_locked() { echo installed; }; find_python() { echo searched; }; environment"
    result = run(program, tmp_path, ATTNFUSE_VENV=str(venv))
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr == ""
    marker.write_text("another lock\n", encoding="utf-8")
    program = 'install_locked() { echo "installed $*"; }; find_python() { command -v true; }; environment'
    assert "--require-hashes" in run(program, tmp_path, ATTNFUSE_VENV=str(venv)).stdout


def test_each_mindspore_has_its_own_environment_and_lock(tmp_path: Path) -> None:
    program = 'echo "$VENV ${LOCK##*/}"'
    for version, message in (
        ("", "venv requirements.lock"),
        ("2.7", "venv requirements.lock"),
        ("2.10", "venv-2.10 requirements-mindspore-2.10.lock"),
    ):
        result = run(program, tmp_path, ATTNFUSE_VENV=str(tmp_path / "venv"), ATTNFUSE_MINDSPORE=version)
        assert result.stdout == f"{tmp_path}/{message}\n"


def test_the_chosen_lock_is_installed(tmp_path: Path) -> None:
    program = 'install_locked() { echo "installed $*"; }; find_python() { command -v true; }; environment'
    result = run(program, tmp_path, ATTNFUSE_VENV=str(tmp_path / "venv"), ATTNFUSE_MINDSPORE="2.10")
    assert "/requirements-mindspore-2.10.lock\n" in result.stdout
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.is_dir()] == ["venv-2.10"]


_UV = r"""
install_locked() {
    echo "pip $*"
    mkdir -p "$VENV/bin"
    printf '#!/bin/sh\necho "uv $*"\nexit '"$UV_ENDS"'\n' >"$VENV/bin/uv"
    chmod +x "$VENV/bin/uv"
}
find_python() { command -v true; }
environment
"""


@pytest.mark.parametrize(
    ("settings", "called"),
    [
        ({}, ["pip attnfuse-uv", "uv requirements.lock", "pip -e"]),
        ({"PIP_INDEX_URL": "https://example.invalid/simple"}, ["pip attnfuse-uv", "uv requirements.lock", "pip -e"]),
        ({"UV_ENDS": "1"}, ["pip attnfuse-uv", "uv requirements.lock", "pip requirements.lock", "pip -e"]),
        ({"ATTNFUSE_INSTALLER": "pip"}, ["pip requirements.lock", "pip -e"]),
    ],
    ids=["uv", "an index of pip's", "uv cannot", "pip"],
)
def test_uv_installs_the_lock_and_pip_where_it_cannot(
    tmp_path: Path, settings: dict[str, str], called: list[str]
) -> None:
    venv = tmp_path / "venv"
    given = {"ATTNFUSE_VENV": str(venv), "UV_ENDS": "0", "UV_DEFAULT_INDEX": "", "PIP_INDEX_URL": "", **settings}
    result = run(_UV, tmp_path, **given)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [f"{line[0]} {'-e' if '-e' in line else Path(line[-1]).name}" for line in lines] == called
    assert all("--require-hashes" in line for line in lines if "-e" not in line)
    assert ("uv did not install them; pip does" in result.stderr) is (given["UV_ENDS"] == "1")
    assert ("--default-index" in result.stdout) is ("PIP_INDEX_URL" in settings)
    if (venv / "attnfuse-uv").exists():
        pinned = (venv / "attnfuse-uv").read_text(encoding="utf-8")
        assert pinned.count("==") == 1
        assert pinned.startswith("uv==")
        assert pinned.count("--hash=sha256:") > 5


def test_a_mindspore_that_is_not_tested_is_one_line(tmp_path: Path) -> None:
    result = run("environment", tmp_path, ATTNFUSE_MINDSPORE="2.8")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "error: ATTNFUSE_MINDSPORE is '2.8': the versions attnfuse is tested with are 2.7 and 2.10"
    ]


def test_without_python_3_7_lites_tests_are_said_not_to_run(tmp_path: Path) -> None:
    program = 'find_lite_python() { return 1; }; lite_environment; echo "[$ATTNFUSE_LITE_PYTHON]"'
    result = run(program, tmp_path, ATTNFUSE_VENV=str(tmp_path / "venv"), ATTNFUSE_LITE_PYTHON="/old")
    assert (result.returncode, result.stdout) == (0, "[]\n")
    (line,) = result.stderr.splitlines()
    assert "tests are not run" in line
    assert "CPython 3.7" in line
    assert list(tmp_path.iterdir()) == []


def test_lite_is_installed_beside_the_environment_once(tmp_path: Path) -> None:
    base = tmp_path / "python3.7"
    # A base interpreter whose `-m venv FOLDER` makes a python that only says how it was called.
    base.write_text(
        '#!/bin/sh\nmkdir -p "$3/bin"\nprintf \'#!/bin/sh\\necho "$@"\\n\' >"$3/bin/python"\nchmod +x "$3/bin/python"\n'
    )
    base.chmod(0o755)
    program = f'find_lite_python() {{ echo "{base}"; }}; lite_environment; echo "$ATTNFUSE_LITE_PYTHON"'
    first, second = (run(program, tmp_path, ATTNFUSE_VENV=str(tmp_path / "venv")) for _ in range(2))
    python = str(tmp_path / "venv-lite" / "bin" / "python")
    installed, message = first.stdout.splitlines()
    assert "--require-hashes" in installed
    assert installed.endswith("requirements-lite.lock")
    assert message == python
    assert (second.stdout, second.stderr) == (f"{python}\n", "")


def test_a_lite_folder_made_by_others_is_left_alone(tmp_path: Path) -> None:
    venv = tmp_path / "venv-lite"
    venv.mkdir()
    program = "find_lite_python() { command -v true; }; lite_environment"
    result = run(program, tmp_path, ATTNFUSE_VENV=str(tmp_path / "venv"))
    assert result.returncode == 1
    assert "was not made by these tools" in result.stderr
    assert venv.is_dir()
