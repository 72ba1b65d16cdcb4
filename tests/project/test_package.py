"""What is installed: two importable packages, their data, and a core that needs no MindSpore."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import attnfuse
import attnfuse_runtime
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Any of these being asked for, even inside a try, is a failure.
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise SystemExit(f"{{name}} was imported")
sys.meta_path.insert(0, Blocker())
import importlib
for name in {modules!r}:
    importlib.import_module(name)
print(len(sys.modules))
"""
HEAVY = ("mindspore", "mindone", "transformers", "onnx", "onnxruntime", "huggingface_hub", "fsspec", "distributed")

# All but the last run in a subprocess with MindSpore, the last in the process of a user who has it loaded.
IN_A_SUBPROCESS = {
    f"attnfuse.tracing.{name}"
    for name in (
        *("build", "ip_adapter_weights", "patches", "weights", "worker"),
        *(
            "blocks.abstracts",
            "blocks.fingerprints",
            "blocks.guesses",
            "blocks.stand_ins",
            "blocks.traced",
            "blocks.tracer",
        ),
        *(f"patches.{path.stem}" for path in (ROOT / "attnfuse/tracing/patches").glob("[a-z]*.py")),
    )
}
IN_A_SUBPROCESS.add("attnfuse.live.capture")

# Beside verification itself, what asks it of parts of graphs; imported where that is begun.
NEEDS_THE_VERIFY_EXTRA = (
    "attnfuse.verify.",
    "attnfuse.farm.candidates",
    "attnfuse.reduction.differences",
    "attnfuse.tuning.candidates",
    "attnfuse.tuning.jobs",
    "attnfuse.tuning.laboratory",
)
# What attnfuse-runtime brings, and what imports it, where a picture is asked for.
RUNTIME_ALONE = ("attnfuse_runtime", "tokenizers", "PIL")
NEEDS_THE_RUNTIME = "attnfuse.pictures."


def blocked_import(modules: list[str], blocked: tuple[str, ...] = HEAVY) -> subprocess.CompletedProcess[str]:
    """Import `modules` in a fresh interpreter that refuses the `blocked` packages."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in (ROOT, ROOT / "passes", RUNTIME))}
    program = BLOCKER.format(blocked=blocked, modules=modules)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)


def core_modules() -> list[str]:
    """Every module but those that run in a subprocess with MindSpore, and those of the extras verify and run."""
    names = []
    for base, package in ((ROOT, "attnfuse"), (ROOT / "passes", "attnfuse_passes")):
        for path in sorted((base / package).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if name not in IN_A_SUBPROCESS and not name.startswith((*NEEDS_THE_VERIFY_EXTRA, NEEDS_THE_RUNTIME)):
                names.append(name)
    return names


def test_core_imports_without_the_extras() -> None:
    modules = core_modules()
    assert {"attnfuse.ir.graph", "attnfuse.cli.compare", "attnfuse_passes"} <= set(modules)
    result = blocked_import(modules, (*HEAVY, *RUNTIME_ALONE))
    assert result.returncode == 0, result.stderr


def test_the_blocker_blocks() -> None:
    result = blocked_import(["onnxruntime"])
    assert result.returncode == 1
    assert "onnxruntime was imported" in result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path).namelist()


def test_wheel_holds_every_file_of_both_packages(wheel: list[str]) -> None:
    expected = {
        path.relative_to(base).as_posix()
        for base, package in ((ROOT, "attnfuse"), (ROOT / "passes", "attnfuse_passes"))
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"attnfuse/py.typed", "attnfuse_passes/py.typed", "attnfuse/mindir/mindir.desc"} <= expected
    assert expected <= set(wheel)


def test_wheel_holds_nothing_else(wheel: list[str]) -> None:
    info = f"attnfuse-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in wheel} == {"attnfuse", "attnfuse_passes", info}
    assert f"{info}/licenses/LICENSE" in wheel


def test_the_version_is_said_once_in_two_places() -> None:
    assert attnfuse.__version__ == PROJECT["version"]
    assert PROJECT["optional-dependencies"]["run"] == [f"attnfuse-runtime=={attnfuse_runtime.__version__}"]


def test_the_runtimes_wheel_holds_its_package_alone(tmp_path: Path) -> None:
    """Two trees of one repository: neither is in the other's wheel."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=RUNTIME, check=True, capture_output=True, timeout=PATIENCE)
    (path,) = tmp_path.glob("*.whl")
    assert path.name == f"attnfuse_runtime-{attnfuse_runtime.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(path).namelist()
    files = {file.relative_to(RUNTIME).as_posix() for file in runtime_files() if file.suffix in (".py", ".typed")}
    info = f"attnfuse_runtime-{attnfuse_runtime.__version__}.dist-info"
    assert files == {name for name in names if not name.startswith(info)}
    assert f"{info}/licenses/LICENSE" in names


def test_the_runtime_imports_nothing_of_attnfuse() -> None:
    modules = [
        ".".join(file.relative_to(RUNTIME).with_suffix("").parts).removesuffix(".__init__")
        for file in runtime_files()
        if file.suffix == ".py"
    ]
    assert "attnfuse_runtime.schedulers" in modules
    result = blocked_import(modules, (*HEAVY, "attnfuse", "attnfuse_passes", "ml_dtypes", "pydantic", "scipy"))
    assert result.returncode == 0, result.stderr


def test_the_runtime_is_of_a_python_that_hosts_have() -> None:
    """Syntax of Python 3.9; that it runs there is for an environment of it."""
    for file in runtime_files():
        if file.suffix == ".py":
            ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=(3, 9))


def runtime_files() -> list[Path]:
    found = (RUNTIME / "attnfuse_runtime").rglob("*")
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)
