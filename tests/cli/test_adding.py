"""A compile of some components leaves the others in the output as they stand, and certificates with their files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.output import digest
from attnfuse.report.model import Manifest, Report
from attnfuse.standing import Standing
from attnfuse.tracing.contract import ComponentPlan, TracedComponent
from attnfuse.tracing.demo import write_json
from tests.cli.conftest import NAMES, Command, Run, tree, verified
from tests.support.split import write_split
from tests.support.tracer import Tracer, stand_in


def manifest(out: Path) -> Manifest:
    return Manifest.model_validate_json((out / "manifest.json").read_bytes())


@pytest.mark.parametrize("order", [("unet", "vae_decoder", "vae_encoder"), ("vae_encoder", "unet", "vae_decoder")])
def test_one_after_the_other_is_all_at_once(compiled: Run, tmp_path: Path, order: tuple[str, ...]) -> None:
    """Whatever the order: the same bytes, report and manifest too, as of one compile of all."""
    rules = ("--no-flash", "unet.blocks.0", "--no-flash", "vae_decoder", "--no-flash", "nobody")
    compiled(options=rules)
    whole = tree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    for name in order:
        answer = compiled(name, options=rules)
    assert tree(tmp_path / "out") == whole
    assert f"{', '.join(name for name in NAMES if name != order[-1])} stayed there as before." in answer.err
    assert [warning for warning in json.loads(whole["report.json"])["warnings"] if "policy" in warning] == [
        "the policy's --no-flash nobody matches no site"
    ]
    compiled(options=(*rules, "--check"))
    for name in NAMES:
        compiled(name, options=(*rules, "--check"))


def test_what_stays_is_not_written_again(compiled: Run, tmp_path: Path) -> None:
    compiled("unet")
    weights = tmp_path / "out" / "unet_variables" / "data_0"
    before = weights.stat().st_ino
    compiled("vae_decoder")
    assert weights.stat().st_ino == before
    assert not list(tmp_path.glob(".attnfuse-*"))


def test_a_component_compiled_again_takes_its_own_place(compiled: Run, source: Path, tmp_path: Path) -> None:
    """With other weights, types or shapes; the others are as they were."""
    compiled()
    before = tree(tmp_path / "out")
    change(source / "unet" / "diffusion_pytorch_model.safetensors")
    compiled("unet", options=("--dtype", "float32"))
    after = tree(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["manifest.json", "report.html", "report.json", "unet_variables/data_0"]
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert manifest(tmp_path / "out").inputs[weights].sha256 == digest(source / weights).sha256
    compiled("unet", options=("--dtype", "float32", "--check"))


def change(weights: Path) -> None:
    values = load_file(weights)
    save_file({name: np.asarray(value + np.float16(1)) for name, value in values.items()}, weights)


def test_a_compile_of_all_is_all(compiled: Run, source: Path, tmp_path: Path) -> None:
    compiled()
    index = json.loads((source / "model_index.json").read_bytes())
    del index["vae"]
    write_json(source / "model_index.json", index)
    compiled()
    assert set(tree(tmp_path / "out")) == {
        "README.md",
        "configs/unet.cfg",
        "convert.sh",
        "manifest.json",
        "model_index.json",
        "report.html",
        "report.json",
        "unet/config.json",
        "unet_graph.mindir",
        "unet_variables/data_0",
    }


def test_another_policy_is_told_of_each(compiled: Run, tmp_path: Path) -> None:
    compiled("unet", options=("--no-flash", "unet"))
    compiled("vae_decoder")
    unet, decoder = manifest(tmp_path / "out").components
    assert [rule.match for rule in unet.policy or ()] == ["unet"]
    assert (decoder.policy, manifest(tmp_path / "out").policy) == (None, ())
    report = Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes())
    assert [entry.totals.kept for entry in report.components] == [2, 0]
    assert (report.totals.sites, report.totals.kept) == (4, 2)
    compiled("vae_encoder", options=("--no-flash", "unet"))
    unet, decoder, encoder = manifest(tmp_path / "out").components
    assert (unet.policy, decoder.policy, encoder.policy) == (None, (), None)
    compiled("vae_encoder", options=("--no-flash", "unet", "--check"))
    compiled("vae_encoder", options=("--check",), code=1)


def test_what_a_graph_has_fixed_stays_told(compiled: Run, tmp_path: Path) -> None:
    compiled("unet")
    compiled("vae_decoder")
    report = Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes())
    for entries in (manifest(tmp_path / "out").components, report.components):
        told = {entry.name: {one.name: one.value for one in entry.fixed} for entry in entries}
        assert told["unet"]["guidance_rows"] == 2
        assert "guidance_rows" not in told["vae_decoder"]


def refused(run: Run, tmp_path: Path, *components: str, message: str, given: Path | None = None, **more: Any) -> None:
    """It is one sentence, nothing changes, and a check says that it is not up to date."""
    before = tree(tmp_path / "out")
    place = {} if given is None else {"given": given}
    assert message in run(*components, code=2, **place, **more).error
    assert tree(tmp_path / "out") == before
    options = more.get("options", ())
    assert "is not up to date: " in run(*components, code=1, **place, options=(*options, "--check")).error
    assert not list(tmp_path.glob(".attnfuse-*"))


@pytest.mark.parametrize("options", [("--soc", "ascend310p"), ("--runtime", "mindspore")])
def test_nothing_is_added_for_another_target(compiled: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    compiled("unet")
    refused(
        compiled, tmp_path, "vae_decoder", options=options, message="holds unet for lite on ascend910b, and this is for"
    )
    compiled("unet", options=options)  # there is nothing beside it


def test_nothing_is_added_of_another_source(compiled: Run, source: Path, tmp_path: Path) -> None:
    compiled("unet", "vae_encoder")
    other = tmp_path / "other"
    shutil.copytree(source, other)
    write_json(other / "model_index.json", {**json.loads((other / "model_index.json").read_bytes()), "x": 1})
    message = "holds unet, which was made of another model_index.json: compile unet again too, or choose another"
    refused(compiled, tmp_path, "vae_decoder", given=other, message=message)
    change(source / "vae" / "diffusion_pytorch_model.safetensors")
    message = (
        "holds vae_encoder, which was made of another vae/diffusion_pytorch_model.safetensors: compile vae_encoder"
    )
    refused(compiled, tmp_path, "vae_decoder", message=message)
    compiled("vae_decoder", "vae_encoder")


def test_nothing_is_added_of_another_mindspore(compiled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled("unet")

    def other(plan: ComponentPlan, work: Path) -> TracedComponent:
        traced = Tracer()(plan, work)
        traced.versions["mindspore"] = "2.0"
        return traced

    stand_in(monkeypatch, other)
    refused(compiled, tmp_path, "vae_decoder", message="holds unet made with mindspore 1.0, and this was made with 2.0")


def flip(path: Path) -> None:
    """Change a byte in place, and nothing that a look from outside would tell."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an edited graph": ("unet_graph.mindir", flip, "unet_graph.mindir is not what attnfuse wrote there"),
    "edited weights": ("unet_variables/data_0", flip, "unet_variables/data_0 is not what attnfuse wrote there"),
    "lost weights": ("unet_variables/data_0", Path.unlink, "unet_variables/data_0 is not what attnfuse wrote there"),
    "an older report": (
        "report.json",
        lambda path: path.write_text(path.read_text().replace("attnfuse.report/2", "attnfuse.report/1")),
        "its report.json is attnfuse.report/1, and this attnfuse writes attnfuse.report/2",
    ),
    "no report": ("report.json", Path.unlink, "its report.json is missing"),
    "a broken report": ("report.json", lambda path: path.write_text("{}"), "its report.json is damaged"),
}


@pytest.mark.parametrize(("damage", "cached"), [*((damage, False) for damage in DAMAGE), ("edited weights", True)])
def test_damage_is_noticed(compiled: Run, tmp_path: Path, damage: str, cached: bool) -> None:
    options = ("--cache-dir", tmp_path / "cache") if cached else ()
    compiled("unet", options=options)
    name, act, message = DAMAGE[damage]
    act(tmp_path / "out" / name)
    refused(compiled, tmp_path, "vae_decoder", message=message, options=options)
    compiled("unet", "vae_decoder", options=options)
    assert manifest(tmp_path / "out").outputs.keys() >= {"unet_graph.mindir", "vae_decoder_graph.mindir"}


def test_another_that_ends_meanwhile_is_not_lost(
    compiled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled("unet")
    unchanged = Standing.unchanged

    def another_ends(standing: Standing) -> bool:
        monkeypatch.setattr(Standing, "unchanged", unchanged)
        compiled("vae_encoder")
        return unchanged(standing)

    monkeypatch.setattr(Standing, "unchanged", another_ends)
    assert "changed while this was compiled" in compiled("vae_decoder", code=2).error
    assert [one.name for one in manifest(tmp_path / "out").components] == ["unet", "vae_encoder"]
    compiled("vae_decoder")
    assert [one.name for one in manifest(tmp_path / "out").components] == NAMES


def test_graphs_are_gathered_in_a_folder(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for stem in ("unet", "vae"):
        assert command("compile", write_split(tmp_path / stem, stem), "-o", out).code == 0
    assert [one.name for one in manifest(out).components] == ["unet", "vae"]
    assert {"unet_variables/data_0", "vae_variables/data_0"} <= manifest(out).inputs.keys()
    for stem in ("unet", "vae"):
        assert command("compile", tmp_path / stem / f"{stem}_graph.mindir", "-o", out, "--check").code == 0


@pytest.mark.usefixtures("verifying")
def test_compiling_again_keeps_the_certificate(compiled: Run, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compiled(options=("--verify", "full", "--seed", "7"))
    whole = (out / "verification.json").read_bytes()
    compiled()
    assert (out / "verification.json").read_bytes() == whole
    compiled(options=("--verify", "static"))  # says less of the same files
    assert verified(out) == dict.fromkeys(NAMES, ("full", 7))
    change(source / "unet" / "diffusion_pytorch_model.safetensors")
    answer = compiled()
    assert verified(out) == dict.fromkeys(NAMES[1:], ("full", 7))
    assert "what was verified of unet is of other files now, and was dropped: verify again" in answer.err
    answer = compiled(options=("--no-flash", "vae_encoder"))
    assert verified(out) == {"vae_decoder": ("full", 7)}
    compiled(options=("--check",), code=1)
    compiled(options=("--no-flash", "vae_encoder", "--check"))


@pytest.mark.usefixtures("verifying")
def test_what_is_added_has_a_certificate_beside_the_others(compiled: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compiled("unet", options=("--verify", "full", "--seed", "1"))
    compiled("vae_decoder")
    assert verified(out) == {"unet": ("full", 1)}
    compiled("vae_encoder", options=("--verify", "static", "--seed", "2"))
    assert verified(out) == {"unet": ("full", 1), "vae_encoder": ("static", 2)}
    compiled("unet", options=("--verify", "full", "--seed", "3"))
    assert verified(out) == {"unet": ("full", 3), "vae_encoder": ("static", 2)}


@pytest.mark.usefixtures("verifying")
@pytest.mark.parametrize("place", ["out", "out.mindir"])
def test_a_certificate_is_about_its_original_too(command: Command, tmp_path: Path, place: str) -> None:
    """Another source may come to the same result; that it does was not verified."""
    graph, out = write_split(tmp_path / "in"), tmp_path / place
    beside = tmp_path / ("out/verification.json" if place == "out" else "out.verification.json")
    assert command("compile", graph, "-o", out, "--verify", "full", "--no-flash", "*").code == 0
    assert command("compile", graph, "-o", out, "--no-flash", "*").code == 0
    document = json.loads(beside.read_bytes())
    assert [one["name"] for one in document["components"]] == ["unet"]
    document["components"][0]["original"][0]["sha256"] = "0" * 64
    beside.write_text(json.dumps(document))
    assert command("compile", graph, "-o", out, "--no-flash", "*").code == 0
    assert not beside.exists()


@pytest.mark.usefixtures("verifying")
@pytest.mark.parametrize("content", ["{", "[]", '{"schema": "attnfuse.verification/2", "attnfuse": "0.0.1"}'])
def test_a_certificate_that_cannot_be_read_is_dropped_and_told(compiled: Run, tmp_path: Path, content: str) -> None:
    compiled(options=("--verify", "full"))
    (tmp_path / "out" / "verification.json").write_text(content)
    assert "warning: the verification that stood there cannot be read" in compiled().err
    assert verified(tmp_path / "out") == {}
