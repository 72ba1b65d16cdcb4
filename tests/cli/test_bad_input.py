"""What a user can get wrong: one line that names what and where, the right exit code, nothing written."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from attnfuse import cli, pass_manager
from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.external import parameters
from attnfuse.mindir.schema import ModelProto
from tests.cli.conftest import Command, tree
from tests.support.console import attnfuse
from tests.support.graphs import transformer
from tests.support.split import write_split
from tests.support.toy_pass import ToyPass

Maker = Callable[[Path], list[str | Path]]


def source(content: bytes, name: str = "model.mindir") -> Maker:
    def make(folder: Path) -> list[str | Path]:
        (folder / name).write_bytes(content)
        return [folder / name]

    return make


def good(*options: str) -> Maker:
    def make(folder: Path) -> list[str | Path]:
        return [transformer().write(folder / "unet.mindir"), *options]

    return make


def graph(change: Callable[[ModelProto], object]) -> Maker:
    model = transformer().build()
    change(model)
    return source(codec.serialise(model))


def split(change: Callable[[ModelProto, Path], object]) -> Maker:
    def make(folder: Path) -> list[str | Path]:
        path = write_split(folder / "model")
        model = codec.parse(path.read_bytes(), "x")
        change(model, path.parent / "unet_variables" / "data_0")
        path.write_bytes(codec.serialise(model))
        return [path]

    return make


def policy(text: str) -> Maker:
    def make(folder: Path) -> list[str | Path]:
        (folder / "policy.toml").write_text(text)
        return [*good()(folder), "--policy", folder / "policy.toml"]

    return make


def located(location: str) -> Maker:
    def change(model: ModelProto, _: Path) -> None:
        next(parameters(model)).external_data.location = location

    return split(change)


def folder_named_mindir(folder: Path) -> list[str | Path]:
    (folder / "x.mindir").mkdir()
    return [folder / "x.mindir"]


def circle(folder: Path) -> list[str | Path]:
    (folder / "circle").symlink_to("circle")
    return [*good()(folder), "--cache-dir", folder / "circle"]


WHOLE = codec.serialise(transformer().build())
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(range(256))

BAD: dict[str, tuple[Maker, int, str]] = {
    "missing file": (lambda folder: [folder / "absent.mindir"], 3, r"absent\.mindir does not exist"),
    "missing folder": (lambda folder: [folder / "absent"], 3, r"absent'? does not exist"),
    "folder that is no pipeline": (lambda folder: [folder], 3, r"not a diffusers pipeline folder"),
    "folder named .mindir": (folder_named_mindir, 3, r"x\.mindir is a folder"),
    "name that is too long": (lambda _: ["x" * 300], 3, r"x+ cannot be read: File name too"),
    "graph with too long a name": (
        lambda _: ["x" * 300 + ".mindir"],
        3,
        r"\.mindir cannot be read: File name too long",
    ),
    "unknown demo": (lambda folder: ["demo:stable-difusion"], 3, r"did you mean 'stable-diffusion'"),
    "empty file": (source(b""), 3, r"model\.mindir is empty"),
    "truncated file": (source(WHOLE[: len(WHOLE) // 2]), 3, r"model\.mindir is not a MindIR file, or is truncated"),
    "jpeg named .mindir": (source(JPEG), 3, r"model\.mindir is a picture, and no model"),
    "jpeg": (source(JPEG, "photo.jpg"), 3, r"photo\.jpg is a picture, and no model"),
    "Git LFS pointer": (
        source(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 77\n", "unet.mindir"),
        3,
        r"unet\.mindir is a Git LFS pointer to a file of 77 bytes",
    ),
    "file of PyTorch": (source(b"PK\x03\x04", "model.ckpt"), 3, r"model\.ckpt is a file of PyTorch's.*convert it"),
    "encrypted": (source(b"\xd8\x5e\x3a\x7f" + bytes(64)), 3, r"model\.mindir is encrypted"),
    "mind_ir_version 4": (graph(lambda m: setattr(m, "mind_ir_version", 4)), 3, r"model\.mindir has mind_ir_version 4"),
    "undefined value": (
        graph(lambda m: m.graph.node[-1].input.append("nowhere")),
        3,
        r"model\.mindir: the graph is damaged: .* uses nowhere",
    ),
    "out of order": (graph(lambda m: m.graph.node.reverse()), 3, r"model\.mindir: the graph is damaged"),
    "no output": (
        graph(lambda m: m.graph.ClearField("output")),
        3,
        r"model\.mindir: the graph '\S+' has no output: nothing",
    ),
    "variables missing": (split(lambda _, data: data.unlink()), 3, r"unet_variables/data_0', which does not exist"),
    "variables too short": (
        split(lambda _, data: os.truncate(data, data.stat().st_size - 100)),
        3,
        r"data_0 is too short: parameter '\S+' ends at byte \d+",
    ),
    "location above": (located("../../x"), 3, r"'\.\./\.\./x', which is not a path below"),
    "location absolute": (located("/etc/passwd"), 3, r"'/etc/passwd', which is not a path below"),
    "unknown component": (good("--component", "unit"), 2, r"has no component 'unit'; it is the one component 'unet'"),
    "type for a traced graph": (good("--dtype", "float16"), 2, r"is a traced graph of fixed types"),
    "shape for a traced graph": (good("--batch", "2"), 2, r"is a traced graph of fixed types"),
    "cache with too long a name": (
        good("--cache-dir", "x" * 300),
        2,
        r"the cache x+ cannot be written: File name too",
    ),
    "cache that is a link to itself": (circle, 2, r"the cache \S+ is a link that leads to itself"),
    "empty cache": (good("--cache-dir", ""), 2, r"--cache-dir'?: a path is needed; it was given an empty one"),
    "bad policy key": (
        policy('[[rules]]\nmatch = "unet"\nforce_cast_type = "none"\n'),
        2,
        r"policy\.toml: rules\[0\] has no key 'force_cast_type'; did you mean 'force_cast_dtype'",
    ),
    "bad policy value": (policy('[defaults]\nforce_cast_dtype = "fp16"\n'), 2, r"did you mean 'float16'"),
    "policy that is not there": (good("--policy", "absent.toml"), 2, r"the policy absent\.toml cannot be read"),
    "bad requirement": (good("--require", "fuse==sites"), 2, r"unknown count 'fuse'; did you mean 'fused'"),
    "empty pattern": (good("--no-flash", ""), 2, r"--no-flash needs a pattern"),
    "pattern that is too long": (good("--no-flash", "[" * 1_001), 2, r"a pattern of 1001 characters, '\[+…'.*a glob"),
    "unknown option": (good("--sock", "ascend910b"), 2, r"No such option.*--soc"),
    "unknown soc": (good("--soc", "ascend911"), 2, r"'ascend911' is not one of"),
    "report in no folder": (good("--report", "/proc/attnfuse/r.json"), 2, r"/proc/attnfuse/r\.json cannot be written"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input(command: Command, tmp_path: Path, kind: str) -> None:
    make, code, message = BAD[kind]
    (tmp_path / "in").mkdir()
    arguments = make(tmp_path / "in")
    seen = tree(tmp_path / "in")
    answer = command("compile", *arguments, "-o", tmp_path / "out", "--json")
    assert (answer.code, answer.document["exit_code"]) == (code, code), answer.err
    assert re.search(message, answer.error), answer.error
    assert tree(tmp_path / "in") == seen
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file/out", "cannot be written"),
        ("file/out.mindir", "cannot be written"),
        ("/proc/attnfuse/out", "cannot be written"),
        ("x" * 300, "cannot be written: File name too long"),
        ("circle", "is a link that leads to itself"),
        ("cache/attnfuse-cache-2/out", r"the cache \S+ would lie in or over"),
        ("in/unet.mindir", "overlap"),
        ("in", "overlap"),
        ("file", "is a file; name a folder"),
        ("theirs", r"theirs exists and was not written by attnfuse"),
        ("theirs.mindir", r"theirs\.mindir exists and was not written by attnfuse"),
    ],
)
def test_bad_output(command: Command, tmp_path: Path, out: str, message: str) -> None:
    (tmp_path / "in").mkdir()
    model = transformer().write(tmp_path / "in" / "unet.mindir")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_bytes(b"x")
    (tmp_path / "theirs.mindir").write_bytes(b"x")
    seen = tree(tmp_path)
    answer = command("compile", model, "-o", tmp_path / out, "--cache-dir", tmp_path / "cache")
    assert answer.code == 2
    assert re.search(message, answer.error), answer.error
    assert "reading" not in answer.err  # told before the work
    assert tree(tmp_path) == seen


def test_an_output_is_needed(command: Command, tmp_path: Path) -> None:
    model = transformer().write(tmp_path / "unet.mindir")
    assert "give -o OUTPUT, or --dry-run" in command("compile", model).error
    for options in (["--dry-run", "--check"], ["--check", "--verify", "full"], ["--dry-run", "--verify", "static"]):
        answer = command("compile", model, "-o", tmp_path / "out", *options)
        assert answer.code == 2
        assert "drop" in answer.error


def test_one_file_cannot_hold_a_pipeline(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answer = command("compile", "demo:stable-diffusion", "-o", tmp_path / "out.mindir")
    assert answer.code == 2
    assert "name a folder" in answer.error
    answer = command("compile", "demo:stable-diffusion", "-o", tmp_path / "out", "--component", "unit")
    assert answer.code == 2
    assert "has no component 'unit'; did you mean 'unet'" in answer.error
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_the_installed_command_says_it_too(tmp_path: Path) -> None:
    (tmp_path / "photo.mindir").write_bytes(JPEG)
    answer = attnfuse("compile", "photo.mindir", "-o", "out", toy=True, cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (3, "")
    assert answer.stderr.splitlines()[-1].startswith("error: photo.mindir is a picture, and no model or weights")
    assert "Traceback" not in answer.stderr
    assert set(tree(tmp_path)) == {"photo.mindir"}


@dataclasses.dataclass(frozen=True)
class Crash(ToyPass):
    """A pass with a defect."""

    def run(self, model: object, context: object) -> bool:
        raise ZeroDivisionError("a bug\nof ours")


class Rename(ToyPass):
    """A pass that breaks the promise that a graph's inputs stay what they are."""

    def run(self, model: Model, context: pass_manager.Context) -> bool:
        first = model.proto.graph.input[0]
        old, first.name = first.name, first.name + "_2"
        for node in model.proto.graph.node:
            node.input[:] = [first.name if name == old else name for name in node.input]
        model.index()  # the message was changed without an edit
        return super().run(model, context)


class Twice(ToyPass):
    """A pass that makes a record of nothing."""

    def run(self, model: object, context: pass_manager.Context) -> bool:
        context.sites.append(
            SiteRecord(module="m", graph="g", anchor="a", form="formula", status="missed", code="c", reason="r")
        )
        return False


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (ToyPass(forget=1), "the census does not add up: 2 sites of form formula in the graph, 1 on record"),
        (Twice(), "the census does not add up"),
        (Rename(), "component unet: the rewritten graph is wrong: input sample is now called sample_2"),
        (Crash(), "ZeroDivisionError: a bug of ours"),
    ],
)
def test_a_defect_of_ours_leaves_what_reproduces_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: pass_manager.Pass, message: str
) -> None:
    monkeypatch.setattr(pass_manager, "discover", lambda: (broken,))
    monkeypatch.setattr(pass_manager, "plugin_of", lambda step: None)
    model = transformer().write(tmp_path / "unet.mindir")
    answer = command("compile", model, "-o", tmp_path / "out")
    assert answer.code == 70
    assert message in answer.error
    match = re.search(r"report it with (\S+\.json)", answer.error)
    assert match is not None
    kept = Path(match[1])
    content = json.loads(kept.read_bytes())
    kept.unlink()
    assert content["arguments"] == ["compile", str(model), "-o", str(tmp_path / "out")]
    assert content["traceback"][0].startswith("Traceback")
    assert any("compiler.py" in line for line in content["traceback"])
    assert set(tree(tmp_path)) == {"unet.mindir"}


def test_a_plugins_defect_is_told_with_its_name(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_manager, "discover", lambda: (Crash(),))
    model = transformer().write(tmp_path / "unet.mindir")
    answer = command("compile", model, "-o", tmp_path / "out")
    assert answer.code == 3
    assert (
        "pass 'toy' of the plugin 'tests' left component unet broken: ZeroDivisionError: a bug of ours" in answer.error
    )
    match = re.search(r"Details are in (\S+\.json)", answer.error)
    assert match is not None
    content = json.loads(Path(match[1]).read_bytes())
    Path(match[1]).unlink()
    assert any("a bug" in line for line in content["traceback"])
    assert set(tree(tmp_path)) == {"unet.mindir"}


def test_an_interrupt_leaves_nothing(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(ToyPass):
        def run(self, model: object, context: object) -> bool:
            raise KeyboardInterrupt

    monkeypatch.setattr(pass_manager, "discover", lambda: (Stop(),))
    model = transformer().write(tmp_path / "unet.mindir")
    answer = command("compile", model, "-o", tmp_path / "out")
    assert answer.code == 130
    assert "interrupted; nothing was written" in answer.err
    assert set(tree(tmp_path)) == {"unet.mindir"}


def test_help_and_version(command: Command) -> None:
    assert "--force-cast-dtype" in command("compile", "--help").out
    assert command("--version").out.startswith("attnfuse, version ")
    assert cli.run(["nonsense"]) == 2
