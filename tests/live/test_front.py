"""What is told before anything is traced, how the subprocess is relayed, and that importing attnfuse stays light."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnfuse
from attnfuse import errors
from attnfuse.errors import (
    AttnfuseError,
    InternalError,
    OutputError,
    PolicyError,
    RequirementError,
    SourceError,
    UsageError,
    VerificationError,
)
from attnfuse.live import child, front, outcome
from attnfuse.lora.inversion import GivenInversion
from attnfuse.progress import Silent
from attnfuse.tracing.contract import Fetch
from tests.support.graphs import transformer
from tests.support.waiting import PATIENCE
from tests.tuning.graphs import overflowing
from tests.tuning.graphs import tune as tuned

ROOT = Path(__file__).resolve().parents[2]


def test_importing_attnfuse_imports_next_to_nothing() -> None:
    script = (
        "import sys, attnfuse\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in"
        " ('google', 'onnx', 'mindspore', 'mindone', 'numpy', 'pydantic', 'rich', 'networkx')))\n"
        "attnfuse.compile\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('google', 'onnx', 'mindspore', 'mindone')))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert said.stdout == "[]\n[]\n"


def test_the_package_has_just_these() -> None:
    assert attnfuse.compile is front.compile
    assert attnfuse.tune is front.tune
    assert (attnfuse.Outcome, attnfuse.Tuned) == (outcome.Outcome, outcome.Tuned)
    with pytest.raises(AttributeError, match="no attribute 'compil'"):
        attnfuse.compil  # noqa: B018


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"runtime": "ms"}, UsageError, "runtime 'ms' is not one of lite, mindspore"),
        ({"soc": "911"}, UsageError, "'911' is not one of ascend310p"),
        ({"verify": "all"}, UsageError, "verify 'all' is not one of none, static, sampled, full"),
        ({"verify": "full"}, UsageError, "without an output"),
        ({"force_cast_dtype": "fp16"}, UsageError, "force_cast_dtype 'fp16' is not one of float16"),
        ({"force_cast_dtype": np.float32}, UsageError, "force_cast_dtype <class 'numpy.float32'> is not one of"),
        ({"policy": {"defaults": {"force_cast_dtype": 3}}}, UsageError, "force_cast_dtype 3 is not one of float16"),
        ({"no_flash": "vae"}, UsageError, "no_flash is a list"),
        ({"no_flash": [""]}, PolicyError, "empty"),
        ({"policy": "absent.toml"}, PolicyError, "absent.toml cannot be read"),
        ({"policy": {"default": {}}}, PolicyError, "did you mean 'defaults'"),
        ({"policy": [{"match": "unet"}]}, PolicyError, "sets nothing"),
        ({"require": ["fused=1"]}, UsageError, "is not of the form"),
        ({}, UsageError, "of type object, is no mindone pipeline or model"),
        ({"inputs": []}, UsageError, "inputs are for the call of one cell"),
    ],
)
def test_mistakes_are_reported_at_once(keywords: dict[str, Any], kind: type[AttnfuseError], message: str) -> None:
    with pytest.raises(kind) as caught:
        attnfuse.compile(object(), None, **keywords)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"budget": 0}, UsageError, "the budget 0 is no relative error; give a number above 0"),
        ({"budget": float("nan")}, UsageError, "is no relative error"),
        ({"budget": float("inf")}, UsageError, "is no relative error"),
        ({"runtime": "ms"}, UsageError, "runtime 'ms' is not one of lite, mindspore"),
        ({"soc": "911"}, UsageError, "'911' is not one of ascend310p"),
        ({"policy": {"default": {}}}, PolicyError, "did you mean 'defaults'"),
        ({"dtype": "float32"}, UsageError, "dtype is for what is on disk"),
        ({}, UsageError, "of type object, is no mindone pipeline or model"),
    ],
)
def test_mistakes_in_tuning_are_reported_at_once(
    keywords: dict[str, Any], kind: type[AttnfuseError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        attnfuse.tune(object(), **{"budget": 1e-3, "progress": "never", **keywords})
    assert message in str(caught.value)


def test_a_policy_is_found_as_on_the_command_line_and_compiled_by(tmp_path: Path) -> None:
    source = overflowing().write(tmp_path / "unet.mindir")
    found = attnfuse.tune(source, budget=1e-3, soc="310P3", progress="never")
    assert found.text == tuned(source, 1e-3).to_toml()
    assert found.document["schema"] == "attnfuse.tuning/1"
    assert repr(found).startswith("<Tuned: unet: off by ")
    assert found.warnings == ()
    compiled = attnfuse.compile(source, None, soc="310P3", progress="never", policy=found.policy)
    assert (compiled.report.totals.sites, compiled.report.totals.fused) == (4, 3)
    found.write(tmp_path / "policy.toml")
    assert (tmp_path / "policy.toml").read_text() == found.text
    with pytest.raises(OutputError, match="is a folder"):
        found.write(tmp_path)
    pinned = [{"match": "unet.blocks.0.attn1", "flash": False}, {"match": "nowhere", "flash": False}]
    kept = attnfuse.tune(source, budget=1e-3, soc="310P3", progress="never", policy=pinned)
    assert kept.document["components"][0]["fixed"] == [{"form": "the formula", "modules": ["blocks.0.attn1"]}]
    (warning,) = kept.warnings
    assert warning in repr(kept)
    assert 'policy rules[1] (match = "nowhere") matches no site' in warning


def test_an_output_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is one file; name a folder"):
        attnfuse.compile(object(), tmp_path / "unet.mindir")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="choose another place"):
        attnfuse.compile(object(), tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


class Recorder:
    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def stage(self, component: str, stage: str) -> None:
        self.told.append((component, stage))

    def amount(self, done: int, total: int) -> None:
        self.told.append((done, total))

    def worker(self, seconds: float, peak: int) -> None:
        pass


def test_progress_is_relayed_and_chatter_is_not() -> None:
    recorder = Recorder()
    for line in ('{"stage": ["unet", "trace"]}', "WARNING: a library speaks", "[1, 2]", '{"amount": [3, 4]}', "7"):
        front._relay(line + "\n", recorder)
    assert recorder.told == [("unet", "trace"), (3, 4)]


def _request(**changes: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "output": None,
        "runtime": "lite",
        "soc": "ascend910b",
        "require": [],
        "verify": "none",
        "seed": 0,
        "data": None,
        "rules": [],
        "options": [],
        "warnings": {},
        "components": [],
        "traces": [],
        "pipeline": None,
        "sizes": {},
        "others": [],
    }
    return {**request, **changes}


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"require": ["nonsense"]}, UsageError, "is not of the form"),
        (
            {"options": [{"where": "policy [pass.fuze]", "step": "fuze", "option": "x", "value": 1}]},
            PolicyError,
            r"policy \[pass.fuze\]: there is no pass 'fuze'; did you mean 'fuse'\?",
        ),
        ({"soc": None, "rules": [{"no": "rule"}]}, InternalError, "a defect of attnfuse: TypeError"),
    ],
)
def test_the_subprocess_hands_its_error_over(
    tmp_path: Path, changes: dict[str, Any], kind: type[AttnfuseError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        front._run(_request(**changes), tmp_path, Silent())


def test_a_subprocess_that_dies_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho first >&2\necho out of memory >&2\nexit 9\n")
    liar.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(liar))
    with pytest.raises(InternalError, match="code 9 and no result; its last words: out of memory"):
        front._run(_request(), tmp_path, Silent())


def test_ctrl_c_stops_the_subprocess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text('#!/bin/sh\necho $$ > pid\necho \'{"stage": ["a", "read"]}\'\nexec sleep 60\n')
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    monkeypatch.chdir(tmp_path)

    class Interrupting(Silent):
        def stage(self, component: str, stage: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        front._run(_request(), tmp_path, Interrupting())
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def _answer(**changes: Any) -> dict[str, Any]:
    return {"report": {}, "unmet": [], "verification": None, "passed": True, "files": {}, "dropped": "", **changes}


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (_answer(unmet=["required a", "required b"]), RequirementError, "required a; required b; nothing was written"),
        (
            _answer(passed=False, verification={"components": [{"findings": []}, {"findings": ["unet: wrong type"]}]}),
            VerificationError,
            "nothing was written: unet: wrong type",
        ),
        (_answer(passed=False, verification={"components": [{}]}), VerificationError, "the numbers differ"),
    ],
)
def test_what_does_not_hold_is_raised(answer: dict[str, Any], kind: type[AttnfuseError], message: str) -> None:
    with pytest.raises(kind, match=message):
        front._finish(answer, None)


def test_every_error_can_cross() -> None:
    names = [name for name, kind in vars(errors).items() if isinstance(kind, type)]
    kinds: list[Callable[..., object]] = [getattr(errors, name) for name in names if name.endswith("Error")]
    assert len(kinds) >= 9
    assert all(str(kind("one sentence.")) == "one sentence." for kind in kinds)


def test_bars_are_for_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    with front._shown("auto") as shown:
        shown.stage("unet", "trace")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ""


def test_what_is_on_disk_is_compiled_as_on_the_command_line(tmp_path: Path) -> None:
    source = transformer(sites=2).write(tmp_path / "unet.mindir")
    outcome = attnfuse.compile(source, tmp_path / "fused.mindir", soc="910B4", progress="never", no_flash=["*attn2*"])
    assert (tmp_path / "fused.mindir").is_file()
    assert {"fused.mindir", "fused.manifest.json", "fused.report.html"} <= set(outcome.files)
    assert (outcome.report.soc, outcome.report.totals.sites, outcome.report.totals.kept) == ("ascend910b", 2, 1)
    with pytest.raises(SourceError, match="does not exist"):
        attnfuse.compile(str(tmp_path / "nowhere.mindir"), None, progress="never")
    with pytest.raises(UsageError, match="inputs are those of a live cell"):
        attnfuse.compile("unet.mindir", None, inputs=[])


def test_what_is_said_of_a_pipeline_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run(request: dict[str, Any], work: Path, progress: object) -> dict[str, Any]:
        asked.update(json.loads(json.dumps(request)))
        raise SourceError("asked")

    monkeypatch.setattr(front, "_run", run)
    for given, dtype, dtypes in (("float16", "float16", ()), ({"unet": "float32"}, None, (("unet", "float32"),))):
        with pytest.raises(SourceError, match="asked"):
            attnfuse.compile(
                "m.safetensors",
                None,
                dtype=given,
                config=Path("p"),
                vae="v",
                ip_adapter="a@0.5",
                textual_inversion=("t:<x>", Path("u")),
                progress="never",
            )
        request = child._request(asked)
        fetch = Fetch(config="p", vae="v", ip_adapter="a@0.5")
        assert (request.dtype, request.shapes.dtypes, request.fetch) == (dtype, dtypes, fetch)
        assert request.loras == (GivenInversion(Path("t"), "<x>"), GivenInversion(Path("u")))
    with pytest.raises(SourceError, match="asked"):
        attnfuse.compile("m", None, textual_inversion="t", progress="never")
    assert child._request(asked).loras == (GivenInversion(Path("t")),)
    others: Sequence[dict[str, Any]] = (
        {"dtype": "x"},
        {"config": "x"},
        {"vae": "x"},
        {"ip_adapter": "x"},
        {"textual_inversion": "x"},
    )
    for other in others:
        with pytest.raises(UsageError, match=f"{next(iter(other))} is for what is on disk"):
            attnfuse.compile(object(), None, progress="never", **other)
