"""`attnfuse reduce` from the command line: faults that are planted, what is written of them, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attnfuse import pass_manager
from attnfuse.ir.graph import Model
from attnfuse.ir.text import parse_model
from attnfuse.mindir import codec, external
from attnfuse.reduction import commands, differences
from attnfuse.reduction.parts import node_count
from attnfuse.reduction.search import Graphs, Search
from attnfuse.version import __version__
from tests.cli.conftest import Answer, Command, tree
from tests.reduction.faults import Crash, attentions, rewritten, swapped_elements, wrong_scale
from tests.support.console import logged
from tests.support.graphs import transformer
from tools.corpus import store

FEW = 12


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    """A corpus graph, and it as compile writes it for MindSpore Lite: before the passes are others here."""
    data = store.read("unet_sd15-float16")
    return data, rewritten(data)


@pytest.fixture
def source(pair: tuple[bytes, bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "unet.mindir").write_bytes(pair[0])
    return folder / "unet.mindir"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return transformer(weights=True).write(folder / "unet.mindir")


def written(folder: Path, *names: str) -> list[Model]:
    """The graphs of a result, which say the same as text, and are without weights."""
    files = {f"{name}.{suffix}" for name in names for suffix in ("mindir", "txt")}
    assert set(tree(folder)) == {*files, "reduction.json"}
    models = []
    for name in names:
        model = Model(codec.parse((folder / f"{name}.mindir").read_bytes(), name))
        assert codec.serialise(parse_model((folder / f"{name}.txt").read_text())) == codec.serialise(model.proto)
        assert not any(map(external.has_data, model.parameters()))
        models.append(model)
    return models


def reduced(command: Command, *arguments: str | Path) -> Answer:
    answer = command("reduce", *arguments, "--json")
    assert answer.code == 0, answer.err
    return answer


# --- where two graphs differ


def plant(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "out.mindir").write_bytes(data)
    return tmp_path / "out.mindir"


def test_a_wrong_scale(command: Command, pair: tuple[bytes, bytes], source: Path, tmp_path: Path) -> None:
    site = next(value for value in attentions(pair[1]) if "attnfuse" not in value)  # heads that are not padded
    out = plant(tmp_path, wrong_scale(pair[1], site))
    answer = reduced(command, source, out, "-o", tmp_path / "r")
    found = answer.document
    assert "run whole" not in answer.err  # the site alone shows it
    original, after = written(tmp_path / "r", "original", "fused")
    assert node_count(original.proto) <= FEW
    assert [node.op for node in after.nodes if node.op != "Constant"] == ["PromptFlashAttention"]
    assert found["kind"] == "difference"
    assert found["nodes"] == {"original": node_count(original.proto), "fused": 1}
    assert found["again"] == "attnfuse verify original.mindir fused.mindir --seed 0"
    assert any("the mathematics is another" in text for text in found["said"])
    # What is written is what was judged.
    again = differences.begin(original.proto, after.proto, 0, tmp_path, lambda _: None)
    assert again is not None
    assert again[1]((original.proto, after.proto)) == found["said"]


def test_swapped_elements_of_a_tuple(command: Command, pair: tuple[bytes, bytes], source: Path, tmp_path: Path) -> None:
    out = plant(tmp_path, swapped_elements(pair[1]))
    answer = reduced(command, source, out, "-o", tmp_path / "r", "--progress", "never")
    models = written(tmp_path / "r", "original", "fused")
    assert all(node_count(model.proto) <= FEW for model in models)
    assert len(answer.err.splitlines()) == 3
    reduced(command, source, out, "-o", tmp_path / "again")
    assert tree(tmp_path / "again") == tree(tmp_path / "r")


# --- what a pass ends in an error on


def test_a_node_that_a_pass_crashes_on(
    command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_manager, "discover", lambda: (Crash(),))
    found = reduced(command, source, "-o", tmp_path / "r", "--no-flash", "unet/*").document
    (model,) = written(tmp_path / "r", "unet")
    assert [node.op for node in model.nodes if node.op != "Constant"] == ["Muls", "BatchMatMulExt", "Softmax"]
    assert "KeyError" in found["said"][0]
    assert found["said"][1].startswith("tests.reduction.faults.Crash.run, line ")
    assert found["again"] == ("attnfuse inspect unet.mindir --runtime lite --soc ascend910b --no-flash 'unet/*'")
    assert (found["attnfuse"], found["finished"], found["weights"]) == (__version__, True, "none")


# --- what a command refuses


def test_what_a_command_refuses(command: Command, small: Path, tmp_path: Path) -> None:
    refuses, log = "! grep -q Softmax {}", ("--log-file", tmp_path / "reduce.log")
    found = reduced(command, small, "--while", refuses, "--weights", "none", "-o", tmp_path / "r", *log).document
    written(tmp_path / "r", "unet")
    lines = logged(tmp_path / "reduce.log")
    assert lines[1] == f"reduce {small}: {refuses}"
    assert "refusal: the command ends with exit code 1" in lines
    assert f"of {found['nodes_of_source']} nodes are left: unet 1; {found['tried']} graphs tried" in lines
    assert (found["kind"], found["said"]) == ("refusal", ["the command ends with exit code 1"])
    assert found["nodes"] == {"unet": 1}
    assert found["again"] == "! grep -q Softmax unet.mindir"


def test_a_command_is_given_drawn_weights(command: Command, small: Path, tmp_path: Path) -> None:
    """Another refusal is none: the command ends with another exit code on a graph without Dense."""
    refuses = f'{sys.executable} -c \'import sys; exit(3 if b"Dense" in open(sys.argv[1], "rb").read() else 4)\' {{}}'
    found = reduced(command, small, "--while", refuses, "-o", tmp_path / "r").document
    assert (found["said"], found["weights"]) == (["the command ends with exit code 3"], "drawn")
    model = codec.parse((tmp_path / "r" / "unet.mindir").read_bytes(), "reduced")
    assert all(map(external.has_data, model.graph.parameter))
    own = {p.raw_data for p in codec.parse(small.read_bytes(), "source").graph.parameter}
    assert own.isdisjoint(p.raw_data for p in model.graph.parameter)


def test_nothing_of_a_command_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(process: subprocess.Popen[bytes]) -> int:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_waited", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commands.Command(f"sleep 1000 & echo $! > {tmp_path / 'child'}; wait; : {{}}").run(tmp_path / "graph")
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


# --- what is told, and what is left


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing to reduce: unet compiles without an error; name the compiled graph too where it differs"),
        (["{source}"], "does not differ from"),
        (["--while", "true {}"], "nothing to reduce: the command ends with exit code 0."),
        (["--while", "cmp -s {} {source} && exit 7; true"], "where the values of weights are drawn."),
    ],
)
def test_nothing_to_reduce(command: Command, small: Path, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    before = tree(tmp_path)
    answer = command("reduce", small, *(a.replace("{source}", str(small)) for a in arguments), "-o", tmp_path / "r")
    assert answer.code == 1
    assert sentence in answer.error
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["{source}", "--while", "true"], 2, "has no {} for the path of the graph"),
        (["{source}", "--while", "no-such-command {}"], 2, "the command of --while was not found: no-such-command"),
        (["{source}", "{source}", "--while", "true {}"], 2, "--while asks about one graph; drop it, or OUT."),
        (["{source}", "{source}", "--weights", "drawn"], 2, "drop --weights."),
        (["demo:stable-diffusion", "{source}"], 2, "demo:stable-diffusion is no .mindir file"),
        (["{source}", "--dynamic", "batch"], 2, "drop --dynamic."),
        (["{source}", "-o", "{folder}"], 2, "exists already, and is not empty; name another, or remove it."),
        (["{source}", "-o", "{source}/r"], 2, "cannot be written: Not a directory."),
        (["{folder}/none.mindir"], 3, "does not exist"),
        (["{source}", "{folder}/none.mindir"], 3, "does not exist"),
        (["{source}", "{folder}"], 1, "does not differ"),
    ],
)
def test_bad_arguments(
    command: Command, small: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    before = tree(tmp_path)
    given = [a.replace("{source}", str(small)).replace("{folder}", str(small.parent)) for a in arguments]
    place = [] if "-o" in given else ["-o", str(tmp_path / "r")]
    answer = command("reduce", *given, *place)
    assert answer.code == code, answer.err
    assert sentence in answer.error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("signal", [KeyboardInterrupt(), SystemExit(143)], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_search_leaves_what_it_was_told_to(
    command: Command, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps: bool, signal: BaseException
) -> None:
    offer = Search.offer

    def interrupted(search: Search, graphs: Graphs) -> bool:
        if search.tried == 2:
            raise signal
        return offer(search, graphs)

    monkeypatch.setattr(Search, "offer", interrupted)
    given = ("reduce", small, "--while", "! grep -q Softmax {}", "--weights", "none", "-o", tmp_path / "r")
    options = ["--keep-best"] if keeps else []
    if isinstance(signal, SystemExit):
        with pytest.raises(SystemExit, match="143"):
            command(*given, *options)
    else:
        answer = command(*given, *options)
        assert answer.code == 130
        assert ("nothing was written" in answer.err) != keeps
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(["r"] if keeps else []), "source"]
    if keeps:
        document = json.loads((tmp_path / "r" / "reduction.json").read_text())
        assert document["finished"] is False
        assert 1 < document["nodes"]["unet"] < document["nodes_of_source"]
