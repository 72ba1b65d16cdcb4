"""The example plugin as anybody installs one: built to a wheel, installed beside attnfuse, used, uninstalled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16
from tests.support.graphs import GraphBuilder
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "tests" / "plugin"
SHOWN = [
    file for file in sorted(PLUGIN.rglob("*")) if file.suffix in (".py", ".toml", ".txt") and file.name != "__init__.py"
]
"""What the page about plugins has the text of."""
UV = Path(sys.executable).parent / "uv"


class Environment:
    """A virtual environment that has what the running one has, by its path, and what is installed into it."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        _run(UV, "venv", "--offline", "--python", sys.executable, folder)
        (site,) = folder.glob("lib/*/site-packages")
        paths = [ROOT, ROOT / "passes", sysconfig.get_path("purelib")]
        (site / "running.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")

    def install(self, wheel: Path) -> None:
        _run(UV, "pip", "install", "--offline", "--no-deps", "--python", self.python, wheel)

    def uninstall(self, name: str) -> None:
        _run(UV, "pip", "uninstall", "--python", self.python, name)

    def attnfuse(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return _started(self.python, "-m", "attnfuse", *arguments)


def _started(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """The command without what this run's environment says of Python, and of packages in a cache of the user's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    bytecode = {"PYTHONPYCACHEPREFIX": sys.pycache_prefix} if sys.pycache_prefix else {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        list(map(str, command)),
        env={**environment, **bytecode, "UV_NO_CACHE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _run(*command: str | Path) -> None:
    done = _started(*command)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=folder / "source", check=True, capture_output=True, timeout=PATIENCE)
    made = Environment(folder / "venv")
    (wheel,) = folder.glob("*.whl")
    made.install(wheel)
    return made


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Attention of negated scores, added to two pairs of negations, through an operator of the plugin."""
    g = GraphBuilder("unet", weights=False)
    q, k, v = (g.input(name, (1, 2, 8, 16), FLOAT16) for name in "qkv")
    scores = g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), -0.25)
    out = g.matmul_ext(g.softmax(g.op("Neg", scores)), v)
    for x in (q, k):
        out = g.add(out, g.op("Neg", g.op("Neg", x)))
    g.output(g.node("ExampleGate", [out, v], g.type_of(v)))
    return g.write(tmp_path / "unet.mindir")


def compiled(output: Path) -> tuple[Model, Any]:
    """The graph that was written, and the report of its component."""
    model = Model(codec.parse((output / "unet.mindir").read_bytes(), "unet.mindir"))
    (component,) = json.loads((output / "report.json").read_bytes())["components"]
    return model, component


def count(model: Model, op: str) -> int:
    return sum(node.op == op for node in model.nodes)


def test_all_that_it_brings_has_its_say(environment: Environment, graph: Path, tmp_path: Path) -> None:
    options = ("--pass", "cancel_negations.most=1", "--reporter", "markdown")
    done = environment.attnfuse("compile", graph, "-o", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    model, component = compiled(tmp_path / "out")
    assert component["plugins"] == {"attnfuse-example": "1.0"}
    # The identity: the scores' negation is part of the scale.
    (site,) = component["sites"]
    assert (site["status"], site["scale"], site["scale_factors"]) == ("fused", 0.25, [-0.25, -1.0])
    # The pass, and its option: of two pairs of negations one is left.
    assert component["options"]["cancel_negations.most"] == 1
    assert count(model, "Neg") == 2
    # The operator, which the rewrite takes apart for MindSpore Lite.
    assert component["legalised"] == [
        {"op": "ExampleGate", "count": 1, "into": ["Mul", "Sigmoid"], "absorbed": [], "refused": []}
    ]
    assert (component["unsupported"], count(model, "ExampleGate"), count(model, "Sigmoid")) == ([], 0, 1)
    # The reporter.
    assert (tmp_path / "out" / "report.md").read_text().endswith("| unet | 1 | 1 |\n")


def test_a_node_that_does_not_fit_its_row_is_refused(environment: Environment, tmp_path: Path) -> None:
    g = GraphBuilder("unet", weights=False)
    x, gate = g.input("x", (2, 3), FLOAT16), g.input("gate", (3,), FLOAT16)
    g.output(g.node("ExampleGate", [x, gate], g.type_of(x)))
    done = environment.attnfuse("inspect", g.write(tmp_path / "unet.mindir"))
    assert done.returncode == 3
    assert "contradicts itself: ExampleGate CNode_1:1 gates float16[2, 3] by float16[3]." in done.stderr


@pytest.mark.parametrize("file", SHOWN, ids=lambda file: file.name)
def test_the_page_shows_its_code(file: Path) -> None:
    lines = (f"    {line}" if line else "" for line in file.read_text(encoding="utf-8").splitlines())
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert "\n\n" + "\n".join(lines) + "\n" in page, f"docs/plugins.md does not show {file} as it is"


def test_its_own_tests_hold(environment: Environment) -> None:
    done = _started(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", PLUGIN, PLUGIN)
    assert done.returncode == 0, done.stdout


def test_uninstalled_it_is_gone(environment: Environment, graph: Path, tmp_path: Path) -> None:
    listed = environment.attnfuse("plugins").stdout.splitlines()
    assert [line.removeprefix("attnfuse-example 1.0: ") for line in listed] == [
        "operator ExampleGate",
        "identity example.negation",
        "rewrite write_gate",
        "pass cancel_negations",
        "reporter markdown",
    ]
    environment.uninstall("attnfuse-example")
    done = environment.attnfuse("compile", graph, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    model, component = compiled(tmp_path / "out")
    assert component["plugins"] == {}
    assert "cancel_negations.most" not in component["options"]
    assert [site["status"] for site in component["sites"]] == ["missed"]
    assert count(model, "Neg") == 5
    assert [entry["op"] for entry in component["unsupported"]] == ["ExampleGate"]
    assert not (tmp_path / "out" / "report.md").exists()
    refused = environment.attnfuse("compile", graph, "-o", tmp_path / "other", "--reporter", "markdown")
    assert refused.returncode == 2
    assert "there is no reporter 'markdown'; there are none." in refused.stderr
