"""--cache-dir: nothing is made twice, and whatever changes, the output is that of a compile without a cache."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from attnfuse import compiler, incremental, pass_manager
from attnfuse.cache import traces as traces_package
from attnfuse.cache.digests import KnownDigests
from attnfuse.compiler import CompileRequest
from attnfuse.errors import TraceError
from attnfuse.output import digest, identity
from attnfuse.progress import Silent
from attnfuse.store.entries import FORMAT
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from attnfuse.tracing.contract import ComponentPlan, TracedComponent
from attnfuse.tracing.demo import write_json
from tests.cli.conftest import Answer, Command, tree
from tests.support.checkpoints import SD21_UNET
from tests.support.console import command as command_line
from tests.support.console import environment
from tests.support.split import write_split
from tests.support.toy_pass import ToyPass
from tests.support.tracer import Tracer, stand_in, write_weights
from tests.support.waiting import PATIENCE, tick

WEIGHTS = Path("unet/diffusion_pytorch_model.safetensors")


@pytest.fixture(autouse=True)
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the sources of what traces and rewrites, by package: an editor may save those while tests run."""
    folder = tmp_path / "sources"
    for name in ("attnfuse", "tests", "mindone"):
        edit(folder / name)
    monkeypatch.setattr(incremental, "_places", lambda name: [folder / name])
    monkeypatch.setattr(traces_package, "_sources", lambda: [folder / "mindone"])
    return folder


def edit(package: Path, text: str = "") -> None:
    """Write a module of that package, long ago."""
    package.mkdir(parents=True, exist_ok=True)
    (package / "module.py").write_text(text)
    os.utime(package / "module.py", (0, 0))


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> Tracer:
    found = Tracer()
    stand_in(monkeypatch, found)
    monkeypatch.setattr(traces_package, "version", lambda name: "1.0")
    return found


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a minute later: what tests have just written is old enough to be known again."""
    clock = SimpleNamespace(
        time_ns=lambda: time.time_ns() + 60 * 10**9, time=time.time, monotonic=time.monotonic, sleep=time.sleep
    )
    monkeypatch.setattr("attnfuse.cache.digests.time", clock)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "unet").mkdir(parents=True)
    write_json(folder / "unet" / "config.json", SD21_UNET)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    write_json(folder / "model_index.json", index)
    write_weights(folder / WEIGHTS)
    return folder


@pytest.fixture
def compiled(command: Command, source: Path, tmp_path: Path) -> Callable[..., Answer]:
    """Compile with the cache; the output must be that of a compile without one, which is made too."""

    def run(*options: str | Path, given: Path = source) -> Answer:
        answer = command("compile", given, "-o", tmp_path / "out", "--cache-dir", tmp_path / "cache", *options)
        assert answer.code == 0, answer.err
        assert command("compile", given, "-o", tmp_path / "plain", "--progress", "never", *options).code == 0
        assert tree(tmp_path / "out") == tree(tmp_path / "plain")
        return answer

    return run


def stages(answer: Answer) -> list[str]:
    lines = answer.err.splitlines()
    return [line.removeprefix("unet: ") for line in lines if line.startswith("unet: ") and "peak memory" not in line]


MADE = ["hashing inputs", "fusing", "writing weights"]


def test_nothing_is_made_twice(compiled: Callable[..., Answer], tracer: Tracer, tmp_path: Path) -> None:
    assert stages(compiled()) == ["tracing", *MADE]
    made = (tmp_path / "out" / "unet_variables" / "data_0").stat().st_ino
    for _ in range(2):
        tracer.traced.clear()
        assert stages(compiled()) == ["trace from cache", "hashing inputs", "unchanged"]
        assert tracer.traced == ["unet"], "the one without a cache"
        assert (tmp_path / "out" / "unet_variables" / "data_0").stat().st_ino == made


def rewrite_weights(folder: Path, file: Path = WEIGHTS) -> None:
    values = load_file(folder / file)
    tick(folder / file)
    name = min(values)
    values[name] = values[name] * 2
    save_file(values, folder / file)


def rewrite_config(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    tick(path)
    write_json(path, {**json.loads(path.read_text()), "resnet_time_scale_shift": "default"})


def flip_last_byte(path: Path) -> None:
    """Change one byte in place and set the file's time back, as no honest program does."""
    tick(path)
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[Path, Path], object] | None, list[str], list[str]]] = {
    "weights": (
        lambda given, out: rewrite_weights(given),
        [],
        ["trace from cache", "hashing inputs", "unchanged", "writing weights"],
    ),
    "config": (lambda given, out: rewrite_config(given), [], ["tracing", "hashing inputs", "unchanged"]),
    "policy": (None, ["--no-flash", "*.attn2"], ["trace from cache", "hashing inputs", "fusing"]),
    "target": (None, ["--runtime", "mindspore"], ["trace from cache", "hashing inputs", "fusing"]),
    "soc": (None, ["--soc", "ascend310p"], ["trace from cache", "hashing inputs", "fusing"]),
    "dtype": (None, ["--dtype", "bfloat16"], ["tracing", "hashing inputs", "unchanged"]),
    "shape": (None, ["--batch", "3"], ["tracing", "hashing inputs", "unchanged"]),
    "way of tracing": (None, ["--trace", "whole"], ["tracing", "hashing inputs", "unchanged"]),
    "graph edited": (
        lambda given, out: flip_last_byte(out / "unet_graph.mindir"),
        [],
        ["trace from cache", "hashing inputs", "fusing"],
    ),
    "weights edited": (
        lambda given, out: flip_last_byte(out / "unet_variables" / "data_0"),
        [],
        ["trace from cache", "hashing inputs", "unchanged", "writing weights"],
    ),
    "graph gone": (
        lambda given, out: (out / "unet_graph.mindir").unlink(),
        [],
        ["trace from cache", "hashing inputs", "fusing"],
    ),
    "output gone": (
        lambda given, out: out.rename(out.with_name("elsewhere")),
        [],
        ["trace from cache", *MADE],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.usefixtures("tracer", "later")
def test_what_changed_is_made_again(compiled: Callable[..., Answer], source: Path, tmp_path: Path, change: str) -> None:
    edit, options, expected = CHANGES[change]
    compiled()
    if edit is not None:
        edit(source, tmp_path / "out")
    assert stages(compiled(*options)) == expected
    assert stages(compiled(*options))[-1] == "unchanged"


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("part", ["mindspore", "environment", "mindone", "attnfuse", "tests", "another pass"])
def test_another_tool_makes_it_again(
    compiled: Callable[..., Answer], tracer: Tracer, sources: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled()
    again = ["tracing", "hashing inputs", "unchanged"]
    if part == "mindspore":
        monkeypatch.setattr(traces_package, "version", lambda name: "2.0" if name == "mindspore" else "1.0")
    elif part == "environment":
        monkeypatch.setenv("MS_DEV_JIT_SYNTAX_LEVEL", "0")
    elif part == "another pass":
        monkeypatch.setattr(pass_manager, "discover", lambda: (ToyPass(), AnotherPass()))
        again = ["trace from cache", "hashing inputs", "fusing"]
    else:
        edit(sources / part, "edited = True")
        if part != "mindone":
            again = ["trace from cache", *(MADE if part == "attnfuse" else MADE[:2])]
    assert stages(compiled()) == again


@pytest.mark.usefixtures("tracer", "later")
def test_sources_that_were_edited_after_they_were_imported_say_nothing(
    compiled: Callable[..., Answer], sources: Path
) -> None:
    (sources / "attnfuse" / "edited.py").write_text("edited = True")
    compiled()
    assert stages(compiled()) == ["trace from cache", *MADE]


class AnotherPass(ToyPass):
    """A plugin that is installed beside; it does nothing."""

    id = "nothing"

    def run(self, model: Any, context: Any) -> bool:
        return False


@pytest.mark.usefixtures("later")
def test_values_that_a_trace_computed_with_belong_to_it(
    compiled: Callable[..., Answer], tracer: Tracer, source: Path
) -> None:
    tracer.spill = ["blocks.0.attn1.to_q.weight"]
    assert stages(compiled()) == ["tracing", *MADE]
    assert stages(compiled()) == ["trace from cache", "hashing inputs", "unchanged"]
    rewrite_weights(source)
    assert stages(compiled()) == ["tracing", "hashing inputs", "unchanged", "writing weights"]


@pytest.mark.usefixtures("tracer", "later")
@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "a folder"])
def test_a_damaged_cache_is_an_empty_one(compiled: Callable[..., Answer], tmp_path: Path, damage: str) -> None:
    compiled()
    foreign = tmp_path / "cache" / "notes.txt"
    foreign.write_text("mine")
    for path in [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p != foreign]:
        content = path.read_bytes()
        if damage == "flipped":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif damage == "a folder":
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(content[: len(content) // 2] if damage == "short" else b"")
    answer = compiled()
    assert stages(answer) == ["tracing", *MADE]
    assert ("the next compile may take longer" in answer.err) == (damage == "a folder")
    assert foreign.read_text() == "mine"


class Told(Silent):
    """Keeps how many bytes of weights were read or written."""

    bytes = 0

    def amount(self, done: int, total: int) -> None:
        self.bytes = done


@pytest.mark.usefixtures("tracer", "later", "command")
@pytest.mark.parametrize("kind", ["pipeline", "graph", "graph to graph"])
def test_no_weight_is_read_again(source: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = source if kind == "pipeline" else write_split(tmp_path / "split")
    out = tmp_path / ("out.mindir" if kind == "graph to graph" else "out")
    request = CompileRequest(source=str(given), output=out, cache=tmp_path / "cache")
    told = Told()
    compiler.compile(request, told)
    assert told.bytes
    heavy = {path.resolve() for path in tmp_path.rglob("data_0")}
    opened: list[Path] = []
    plain = Path.open

    def opening(path: Path, *arguments: Any, **more: Any) -> Any:
        opened.append(path)
        return plain(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", opening)
    for _ in range(2):
        told = Told()
        assert compiler.compile(request, told).written
        assert not told.bytes
    assert opened, "other files are read"
    assert not heavy & {path.resolve() for path in opened}


@pytest.mark.usefixtures("tracer", "later")
def test_check_reads_bytes(command: Command, source: Path, tmp_path: Path) -> None:
    """A compile trusts the times of files, `--check` does not, whatever the cache says."""
    out, cache = tmp_path / "out", tmp_path / "cache"
    assert command("compile", source, "-o", out, "--cache-dir", cache).code == 0
    answer = command("compile", source, "-o", out, "--cache-dir", cache, "--check")
    assert (answer.code, stages(answer)[:1]) == (0, ["trace from cache"])
    for changed in (out / "unet_variables" / "data_0", source / WEIGHTS):
        was = digest(changed)
        flip_last_byte(changed)
        KnownDigests(Store(cache))._keep(identity(changed.stat()), was)  # as if nothing had happened
        answer = command("compile", source, "-o", out, "--cache-dir", cache)
        assert stages(answer) == ["trace from cache", "hashing inputs", "unchanged"]
        answer = command("compile", source, "-o", out, "--cache-dir", cache, "--check")
        assert answer.code == 1
        assert "is not up to date" in answer.error
        flip_last_byte(changed)


@pytest.mark.usefixtures("tracer", "later")
def test_check_makes_again_what_the_cache_tells_of(command: Command, source: Path, tmp_path: Path) -> None:
    graph, cache = tmp_path / "out" / "unet_graph.mindir", tmp_path / "cache"
    assert command("compile", source, "-o", tmp_path / "out", "--cache-dir", cache).code == 0
    was = digest(graph).sha256.encode()
    flip_last_byte(graph)
    store = Store(cache)
    for entry in (cache / FORMAT / "KnownGraph").iterdir():
        told = store.get(Kind.KNOWN_GRAPH, entry.name)
        assert told is not None
        store.put(Kind.KNOWN_GRAPH, entry.name, told.replace(was, digest(graph).sha256.encode()))
    answer = command("compile", source, "-o", tmp_path / "out", "--cache-dir", cache)
    assert stages(answer) == ["trace from cache", "hashing inputs", "unchanged"]
    answer = command("compile", source, "-o", tmp_path / "out", "--cache-dir", cache, "--check")
    assert (answer.code, stages(answer)) == (1, ["trace from cache", *MADE])


@pytest.mark.usefixtures("tracer")
def test_inspect_and_explain_do_not_trace_again(command: Command, tracer: Tracer, source: Path, tmp_path: Path) -> None:
    shared = ["--cache-dir", tmp_path / "cache"]
    first = command("inspect", source, "--json", *shared)
    second = command("inspect", source, "--json", *shared)
    assert first.out == second.out
    assert command("explain", source, "blocks.0.attn1", *shared).code == 0
    assert command("policy", "show", source, *shared).code == 0
    assert command("compile", source, "-o", tmp_path / "out", *shared).code == 0
    assert tracer.traced == ["unet"]


def test_what_cannot_be_traced_is_tried_again(
    command: Command, source: Path, tmp_path: Path, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(plan: ComponentPlan, work: Path) -> TracedComponent:
        raise TraceError("component unet cannot be traced: not today")

    with monkeypatch.context() as patched:
        stand_in(patched, refuse)
        assert command("compile", source, "-o", tmp_path / "out", "--cache-dir", tmp_path / "cache").code == 3
    assert command("compile", source, "-o", tmp_path / "out", "--cache-dir", tmp_path / "cache").code == 0
    assert tracer.traced == ["unet"]


@pytest.mark.usefixtures("tracer")
def test_check_of_an_output_that_some_were_left_out_of(command: Command, source: Path, tmp_path: Path) -> None:
    """It asks whether the output is what would be written; that it is not all there could be, `--require` asks."""
    index = json.loads((source / "model_index.json").read_text())
    write_json(source / "model_index.json", {**index, "newest": ["diffusers", "NewestModel"]})
    compile_ = ["compile", source, "-o", tmp_path / "out"]
    assert command(*compile_).code == 3
    answer = command(*compile_, "--check")
    assert answer.code == 0
    assert "out is up to date, without the 1 left out.\n" in answer.err
    assert "component newest was left out: class NewestModel is not supported" in answer.err
    answer = command(*compile_, "--check", "--require", "failed==0")
    assert answer.code == 1
    assert "up to date" not in answer.err
    write_json(source / "model_index.json", index)
    answer = command(*compile_, "--check")
    assert answer.code == 1
    assert "model_index.json differs" in answer.error


@pytest.mark.parametrize("where", ["in", "in/unet", "out", "out/cache", "in/model_index.json"])
def test_the_cache_never_lands_in_source_or_output(command: Command, source: Path, tmp_path: Path, where: str) -> None:
    before = tree(source)
    answer = command("compile", source, "-o", tmp_path / "out", "--cache-dir", tmp_path / where)
    assert answer.code == 2
    assert "name another place for it" in answer.error
    assert tree(source) == before
    assert not (tmp_path / "out").exists()


def test_a_cache_that_cannot_be_written_is_told_at_once(command: Command, source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    answer = command("compile", source, "-o", tmp_path / "out", "--cache-dir", tmp_path / "file" / "cache")
    assert answer.code == 2
    assert "cannot be written" in answer.error
    assert "is a file" in command("inspect", source, "--cache-dir", tmp_path / "file").error


def test_two_at_once(tmp_path: Path) -> None:
    given = write_split(tmp_path / "in")
    lines = [
        command_line("compile", given, "-o", tmp_path / name, "--cache-dir", tmp_path / "cache", toy=True)
        for name in ("a", "b")
    ]
    first, second = (subprocess.Popen(line, env=environment(), stderr=subprocess.PIPE, text=True) for line in lines)
    with first, second:
        for run in (first, second):
            _, said = run.communicate(timeout=PATIENCE)
            assert run.returncode == 0, said
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert not list(tmp_path.rglob("writing/*"))
