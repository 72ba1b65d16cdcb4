"""A user's session (session.py), looked at from outside: settings honoured, nothing changed, errors told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse.mindir import codec, external
from attnfuse.report.model import Manifest
from tests.support import forks
from tests.support.traces import locked, shared_folder

pytestmark = pytest.mark.mindspore


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a session that was run once; `told.json` is what it told."""
    shared = shared_folder(tmp_path_factory)
    folder = shared / "live"
    with locked(shared / "live.lock"):
        if not folder.exists():
            (folder / "here").mkdir(parents=True)
            with (folder / "log").open("w") as log:
                forks.script("-m", "tests.live.session", str(folder), cwd=folder / "here", log=log)
    assert (folder / "told.json").exists(), (folder / "log").read_text(errors="replace")[-3000:]
    return folder


@pytest.fixture(scope="session")
def told(session: Path) -> Any:
    """Return what the session told."""
    return json.loads((session / "told.json").read_text())


def rules_of(report: Any, component: str) -> set[tuple[str, str | None, str | None]]:
    """Status, compute type (of what is fused) and deciding rule of each of the component's sites."""
    (entry,) = (c for c in report["components"] if c["name"] == component)
    assert entry["sites"]
    return {(s["status"], s["compute_dtype"], s["rule"]) for s in entry["sites"]}


def test_settings_are_honoured_and_named(told: Any) -> None:
    report = told["first"]
    assert rules_of(report, "unet") == {("kept", None, "pipe.unet: enable_flash_sdp(False)")}
    for component in ("vae_decoder", "vae_encoder"):
        label = "pipe.vae: set_flash_attention_force_cast_dtype(bfloat16)"
        assert rules_of(report, component) == {("fused", "bfloat16", label)}
    assert report["warnings"] == []
    assert (report["totals"]["sites"], report["totals"]["fused"]) == (10, 2)


def test_the_calls_in_another_order_give_another_result(told: Any) -> None:
    report = told["second"]
    exception = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    assert rules_of(report, "unet") == {
        ("fused", "bfloat16", "pipe.unet: set_flash_attention_force_cast_dtype(bfloat16)"),
        ("kept", None, f"pipe.{exception}: enable_flash_sdp(False)"),
    }
    kept = [s["id"] for c in report["components"][:1] for s in c["sites"] if s["status"] == "kept"]
    assert kept == [exception.replace("unet.", "unet/", 1)]


def test_a_call_on_the_pipeline_reaches_what_has_no_setter(told: Any) -> None:
    """mindone's text encoders have none; what was called later on a narrower part is not theirs."""
    off, on, no_cast = told["whole"]
    assert rules_of(off, "text_encoder") == {("kept", None, "pipe: enable_flash_sdp(False)")}
    cast = "pipe: set_flash_attention_force_cast_dtype(bfloat16)"
    assert rules_of(on, "text_encoder") == {("fused", "bfloat16", cast)}
    assert rules_of(no_cast, "text_encoder") == {("kept", None, "--force-cast-dtype none")}


def test_a_live_cell_is_tuned_and_left_as_it_was(told: Any) -> None:
    document, is_unchanged = told["tuned"]
    assert is_unchanged
    (component,) = document["components"]
    assert component["error"] <= document["budget"]
    assert component["drawn_weights"] == 0
    (entry,) = told["by what was tuned"]["components"]
    assert entry["cost"]["after"]["seconds"] == component["seconds"]


def test_policy_comes_after_what_is_set(told: Any) -> None:
    report = told["single"]
    label = "vae: set_flash_attention_force_cast_dtype(None)"
    assert rules_of(report, "vae_decoder") == {("kept", None, label)}
    assert rules_of(report, "vae_encoder") == {("fused", "float16", 'policy rules[1] (match = "vae.encoder")')}


def test_any_cell_can_be_compiled_as_a_call(told: Any) -> None:
    report = told["call"]
    assert rules_of(report, "model") == {("fused", "float16", "--force-cast-dtype float16")}
    assert [part["name"] for part in told["verification"]["components"]] == ["model"]


def test_the_pipeline_is_left_as_it_was(told: Any) -> None:
    assert told["changed"] == []
    assert told["unchanged"]
    assert told["mode"] == 1  # PyNative, as MindSpore starts
    assert told["litter"] == []


def test_what_is_written_is_whole(told: Any, session: Path) -> None:
    out = session / "first"
    assert {p.relative_to(out).as_posix(): p.stat().st_size for p in out.rglob("*") if p.is_file()} == told["files"]
    manifest = Manifest.model_validate_json((out / "manifest.json").read_text())
    assert {c.name: c.owner for c in manifest.components} == {
        "unet": "unet",
        "vae_decoder": "vae",
        "vae_encoder": "vae",
    }
    assert set(manifest.inputs) == {"unet.safetensors", "vae.safetensors"}
    assert manifest.components[0].inputs[0].dtype == "float32"
    assert [rule.label for rule in manifest.policy] == [
        "pipe.unet: set_flash_attention_force_cast_dtype(None)",
        "pipe.unet: enable_flash_sdp(False)",
        "pipe.vae: set_flash_attention_force_cast_dtype(bfloat16)",
    ]
    for component in manifest.components:
        graph = out / component.graph
        external.check_weights(codec.parse(graph.read_bytes(), str(graph)), graph, required=True)
    assert str(session) not in (out / "manifest.json").read_text() + (out / "report.json").read_text()
    assert not list(session.glob(".attnfuse-*"))


def test_what_the_parts_say_of_themselves_lies_beside_the_graphs(session: Path) -> None:
    out = session / "first"
    pipeline = Manifest.model_validate_json((out / "manifest.json").read_text()).pipeline
    assert pipeline is not None
    assert (pipeline.class_name, pipeline.guidance_rows) == ("StableDiffusionPipeline", 2)
    assert set(pipeline.files) == {
        *("model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"),
    }
    scheduler = json.loads((out / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["_class_name"] == "DDIMScheduler"
    assert json.loads((out / "vae" / "config.json").read_text())["latent_channels"] == 4
    assert not any(str(session) in (out / name).read_text() for name in pipeline.files)


def test_the_weights_are_those_of_the_checkpoint(session: Path) -> None:
    graph = codec.parse((session / "first" / "unet_graph.mindir").read_bytes(), "unet")
    (parameter,) = (p for p in graph.graph.parameter if p.name.endswith(":conv_in.weight"))
    data = (session / "first" / "unet_variables" / "data_0").read_bytes()
    place = parameter.external_data
    value = data[place.offset : place.offset + place.length]
    checkpoint = (session / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert len(value) > 1000
    assert value in checkpoint


def test_progress_and_the_table(told: Any) -> None:
    stages = [tuple(stage) for stage in told["stages"]]
    assert stages.index(("unet", "trace")) < stages.index(("unet", "rewrite")) < stages.index(("", "write"))
    assert [s for s in stages if s == ("vae_decoder", "trace")] == [("vae_decoder", "trace")]
    assert told["amount"][0] == told["amount"][1] > 3_000_000
    html = told["html"]
    assert html.startswith("<table>")
    assert "<th>vae_decoder</th><td>1</td><td>1</td>" in html
    assert "kept 8: flash attention is off (rule: pipe.unet: enable_flash_sdp(False))" in html


def test_parameters_of_one_name_are_told_apart(told: Any, session: Path) -> None:
    assert told["twins"] == ["base.weight", "base.weight"], "left as they were"
    path = session / "twins" / "model_graph.mindir"
    model = codec.parse(path.read_bytes(), "x")
    files = external.check_weights(model, path, required=True)
    found = {
        external.parameter_name(p).partition("__")[0]: np.frombuffer(
            files[p.external_data.location].read_bytes(), np.float32, 64, p.external_data.offset
        )
        for p in external.parameters(model)
    }
    assert {name: set(values.tolist()) for name, values in found.items()} == {
        "to_q.weight": {0.25},
        "to_k.weight": {0.5},
    }


def test_elements_of_a_tuple_are_inputs(told: Any, session: Path) -> None:
    """And no constants, which MindSpore's export makes of them."""
    manifest = Manifest.model_validate_json((session / "tuple" / "manifest.json").read_text())
    assert [(one.name, tuple(one.shape)) for one in manifest.components[0].inputs] == [
        ("input_0", (2, 4, 8)),
        ("input_1_0", (2, 5, 8)),
        ("input_1_1", (2, 5, 8)),
    ]


@pytest.mark.parametrize(
    ("case", "kind", "part"),
    [
        ("no cell", "UsageError", "of type int"),
        ("unmet", "RequirementError", "required kept==7, but kept is 1; nothing was written."),
        ("bad inputs", "UsageError", "input 0 is no tensor"),
        ("bad tuple", "UsageError", "input 0[1] is no tensor of float16, bfloat16"),
        ("empty tuple", "UsageError", "input 0 is an empty tuple; give the tensors it holds"),
        ("wrong inputs", "TraceError", "component model cannot be traced"),
        ("unknown component", "UsageError", "did you mean 'unet'"),
        ("absent component", "UsageError", "did you mean 'vae_encoder'? Known: unet, vae_decoder, vae_encoder, vae."),
        (
            "no such type",
            "UsageError",
            "bfloat16 is not on ascend310p, which component vae_decoder has",
        ),
        ("unknown class", "TraceError", "Attention is not supported; give the inputs"),
    ],
)
def test_errors(told: Any, session: Path, case: str, kind: str, part: str) -> None:
    name, text = told["errors"][case]
    assert name == kind
    assert part in text
    assert "\n" not in text
    assert str(session) not in text
    assert not (session / "no").exists()
