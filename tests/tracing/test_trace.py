"""Real traces: what a component's graph is, that it is the same each time, and what is said when it cannot be had."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from attnfuse.errors import TraceError
from attnfuse.ir.canonical import canonical_hash
from attnfuse.mindir import codec, dtypes
from attnfuse.mindir.schema import GraphProto, ModelProto
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions, TensorSpec, Traced, TracedComponent
from attnfuse.tracing.demo import TEXT_ENCODER, write_json
from attnfuse.tracing.plan import plan_pipeline
from attnfuse.tracing.runner import trace_component
from attnfuse.tracing.worker import first_line
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, write_model, write_small_sd21, write_small_xl
from tests.support.traces import TracedDemo
from tools.make_checkpoint import make_checkpoint

pytestmark = pytest.mark.mindspore

WIRE = {dtype.wire: dtype.name for dtype in dtypes.ALL}

#: Attention sites of Stable Diffusion 1.5's models: every one ends in one Softmax.
DEMO_SITES = {"unet": 32, "vae_decoder": 1, "vae_encoder": 1, "text_encoder": 12}


def model_of(traced: TracedComponent) -> ModelProto:
    return codec.parse(traced.graph.read_bytes(), str(traced.graph))


def operators(model: ModelProto) -> Counter[str]:
    types = {f"REF::{primitive.name}": primitive.op_type for primitive in model.primitives}
    return Counter(types.get(node.op_type, node.op_type) for node in model.graph.node)


def own_name(name: str) -> str:
    return name.partition(":")[2]


def assert_coherent(traced: TracedComponent) -> GraphProto:
    """Assert that the graph file, the plan and the list of weights tell the same story; return the graph."""
    graph = model_of(traced).graph
    assert graph.name == traced.plan.name
    inputs = [
        TensorSpec(own_name(value.name), tuple(value.tensor[0].dims), WIRE[value.tensor[0].data_type])
        for value in graph.input
    ]
    assert tuple(inputs) == traced.plan.inputs
    assert [own_name(parameter.name) for parameter in graph.parameter] == [w.parameter for w in traced.weights]
    for parameter, weight in zip(graph.parameter, traced.weights, strict=True):
        assert (tuple(parameter.dims), WIRE[parameter.data_type]) == (weight.shape, weight.dtype)
        assert not parameter.raw_data
        assert not parameter.HasField("external_data")
        assert weight.dtype == traced.plan.dtype
    return graph


@pytest.mark.parametrize("component", sorted(DEMO_SITES))
def test_demo_in_float16(traced_demo: TracedDemo, component: str) -> None:
    traced = traced_demo("float16", component)[component]
    graph = assert_coherent(traced)
    assert operators(model_of(traced))["Softmax"] == DEMO_SITES[component]
    assert traced.versions.keys() == {"mindspore", "mindone", "transformers"}
    assert traced.seconds > 0
    assert traced.peak_rss_bytes > 100 << 20
    # The model's own names, as a checkpoint (or its owner) knows them: no prefix of the cell it is wrapped in.
    first = {
        "unet": "conv_in.weight",
        "vae_decoder": "post_quant_conv.weight",
        "vae_encoder": "encoder.conv_in.weight",
        "text_encoder": "text_model.embeddings.token_embedding.embedding_table",
    }
    assert first[component] in {own_name(parameter.name) for parameter in graph.parameter}


def test_a_component_whole(demo_folder: Path, traced_demo: TracedDemo, tmp_path: Path) -> None:
    (plan,) = plan_pipeline(demo_folder, "float16", ShapeOptions(), ["text_encoder"])
    whole = trace_component(replace(plan, way="whole"), tmp_path)
    assert whole.traced == Traced("whole")
    in_blocks = traced_demo("float16", "text_encoder")["text_encoder"]
    assert in_blocks.traced == Traced("blocks", 1, 12)
    assert canonical_hash(model_of(in_blocks)) == canonical_hash(model_of(whole))
    assert in_blocks.weights == whole.weights


def test_demo_outputs(traced_demo: TracedDemo) -> None:
    traces = traced_demo("float16")
    assert {name: traced.outputs for name, traced in traces.items()} == {
        "unet": (TensorSpec("sample", (2, 4, 16, 16), "float16"),),
        "vae_decoder": (TensorSpec("image", (1, 3, 128, 128), "float16"),),
        "vae_encoder": (TensorSpec("moments", (1, 8, 16, 16), "float16"),),
        "text_encoder": (
            TensorSpec("last_hidden_state", (1, 77, 64), "float16"),
            TensorSpec("pooler_output", (1, 64), "float16"),
        ),
    }


@pytest.mark.parametrize(("component", "dtype"), [("vae_decoder", "bfloat16"), ("text_encoder", "float32")])
def test_small_demo_components_in_other_types(traced_demo: TracedDemo, component: str, dtype: str) -> None:
    traced = traced_demo(dtype, component)[component]
    assert_coherent(traced)
    assert operators(model_of(traced))["Softmax"] == DEMO_SITES[component]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_whole_demo_in_other_types(traced_demo: TracedDemo, dtype: str) -> None:
    for traced in traced_demo(dtype).values():
        assert_coherent(traced)
        assert operators(model_of(traced))["Softmax"] == DEMO_SITES[traced.plan.name]


def test_same_bytes_from_another_folder_and_hash_seed(
    demo_folder: Path, traced_demo: TracedDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = traced_demo("float16", "text_encoder")["text_encoder"]
    monkeypatch.setenv("PYTHONHASHSEED", "12345")
    monkeypatch.setenv("HOME", str(tmp_path))
    other = tmp_path / "a" / "pipeline in another place"
    shutil.copytree(demo_folder, other)
    (plan,) = plan_pipeline(other, "float16", ShapeOptions(), ["text_encoder"])
    (tmp_path / "work").mkdir()
    second = trace_component(plan, tmp_path / "work")
    assert second.graph.read_bytes() == first.graph.read_bytes()
    assert str(tmp_path).encode() not in second.graph.read_bytes()


@pytest.mark.slow
def test_every_component_is_the_same_each_time(
    demo_folder: Path, traced_demo: TracedDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = traced_demo("float16")
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        for plan in plan_pipeline(demo_folder, "float16", ShapeOptions()):
            work = tmp_path / f"{seed}-{plan.name}"
            work.mkdir()
            assert trace_component(plan, work).graph.read_bytes() == first[plan.name].graph.read_bytes()


def test_module_scopes_begin_with_the_pipelines_name_for_the_model(traced_demo: TracedDemo) -> None:
    domains = {node.domain for node in model_of(traced_demo("float16", "vae_decoder")["vae_decoder"]).graph.node}
    assert any(domain.startswith("Default/vae-AutoencoderKL/decoder-Decoder/") for domain in domains)


@pytest.mark.parametrize("component", [pytest.param("unet", marks=pytest.mark.slow), "text_encoder_2"])
def test_stable_diffusion_xl(tmp_path: Path, component: str) -> None:
    traced = trace_one(write_small_xl(tmp_path / "xl"), component, tmp_path)
    assert_coherent(traced)
    # The UNet: 2 blocks of depth 2 on the way down, 1 in the middle, 3 on the way up, two attentions each.
    assert operators(model_of(traced))["Softmax"] == {"unet": 24, "text_encoder_2": 3}[component]
    if component == "text_encoder_2":
        assert traced.outputs == (
            TensorSpec("penultimate_hidden_state", (1, 77, 48), "float16"),
            TensorSpec("text_embeds", (1, 40), "float16"),
        )


@pytest.mark.slow
@pytest.mark.parametrize("component", ["text_encoder", "vae_decoder", "vae_encoder"])
def test_stable_diffusion_xl_whole(tmp_path: Path, component: str) -> None:
    traced = trace_one(write_small_xl(tmp_path / "xl"), component, tmp_path)
    assert_coherent(traced)
    assert operators(model_of(traced))["Softmax"] == (3 if component == "text_encoder" else 1)


@pytest.mark.slow
def test_stable_diffusion_21_attends_in_float32(tmp_path: Path) -> None:
    traced = trace_one(write_small_sd21(tmp_path / "sd21"), "unet", tmp_path)
    model = model_of(traced)
    assert_coherent(traced)
    types = {f"REF::{primitive.name}": primitive.op_type for primitive in model.primitives}
    softmax = [node for node in model.graph.node if types.get(node.op_type) == "Softmax"]
    shapes = [next(a for a in node.attribute if a.name == "shape").tensors[0] for node in softmax]
    assert [WIRE[shape.data_type] for shape in shapes] == ["float32"] * 8  # upcast_attention


@pytest.mark.slow
def test_full_size_unet(tmp_path: Path) -> None:
    assert make_checkpoint(tmp_path / "sd15", "sd15", "float16") == 859_520_964
    traced = trace_one(tmp_path / "sd15", "unet", tmp_path)
    assert_coherent(traced)
    assert operators(model_of(traced))["Softmax"] == 32
    assert traced.peak_rss_bytes < 2 << 30  # a skeleton: the weights alone are 1.7 GB


def test_a_parameter_without_a_weight_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "vae", SMALL_VAE)
    # A layer more than the checkpoint has.
    write_json(tmp_path / "vae" / "config.json", {**SMALL_VAE, "layers_per_block": 2})
    with pytest.raises(TraceError, match=r"component vae_decoder: parameter decoder\.\S+ has (no weight|shape)"):
        trace_one(tmp_path / "vae", "vae_decoder", tmp_path)


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "text_encoder", TEXT_ENCODER)
    write_json(tmp_path / "text_encoder" / "config.json", {**TEXT_ENCODER, "vocab_size": 600})
    with pytest.raises(
        TraceError,
        match=r"parameter text_model\.embeddings\.token_embedding\.embedding_table has shape \[600, 64\],"
        r" but its weight in .* has shape \[514, 64\]",
    ):
        trace_one(tmp_path / "text_encoder", "text_encoder", tmp_path)


def test_a_model_that_mindone_refuses(tmp_path: Path) -> None:
    unet = tmp_path / "unet"
    write_model(unet, SD21_UNET)
    write_json(unet / "config.json", {**SD21_UNET, "down_block_types": ["NoSuchBlock"] * 2})
    with pytest.raises(TraceError, match=r"^component unet cannot be traced: NoSuchBlock does not exist\.$"):
        trace_one(unet, "unet", tmp_path)
    assert "Traceback" in (tmp_path / "work" / "trace.log").read_text()


@pytest.mark.parametrize(
    ("method", "message"),
    [("frobnicate", "AutoencoderKL has no method 'frobnicate'"), ("decoder.frobnicate", "Decoder has no method 'frob")],
)
def test_a_method_that_the_model_has_not(tmp_path: Path, method: str, message: str) -> None:
    write_model(tmp_path / "vae", SMALL_VAE)
    (plan,) = plan_pipeline(tmp_path / "vae", "float16", ShapeOptions(), ["vae_decoder"])
    assert plan.call is not None
    (tmp_path / "work").mkdir()
    with pytest.raises(TraceError, match=rf"^component vae_decoder cannot be traced: {message}"):
        trace_component(replace(plan, call=replace(plan.call, method=method)), tmp_path / "work")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Net(\n  (a): CellList(\n  )\n) object has no attribute b\n\n---\nC++", "Net object has no attribute b"),
        ("\n  It is wrong (\nvery)\n", "It is wrong ("),
        ("It is wrong.\n\n---\n- C++ Call Stack:\n)", "It is wrong."),
        ("got <api._no_grad object at 0x7f79fd628990>, no cell", "got <api._no_grad object>, no cell"),
        ("", "RuntimeError"),
    ],
)
def test_the_cause_that_is_told_of_what_mindspore_says(said: str, message: str) -> None:
    assert first_line(RuntimeError(said)) == message


def test_a_checkpoint_without_weights_is_told_before_mindspore_is_imported(tmp_path: Path) -> None:
    vae = tmp_path / "vae"
    vae.mkdir()
    write_json(vae / "config.json", SMALL_VAE)
    with pytest.raises(TraceError, match=r"vae has no diffusion_pytorch_model\.safetensors\.$"):
        trace_one(vae, "vae_decoder", tmp_path)
    assert (tmp_path / "work" / "trace.log").read_text() == ""  # mindone says things when it is imported


def trace_one(folder: Path, component: str, tmp_path: Path) -> TracedComponent:
    plan: ComponentPlan
    (plan,) = plan_pipeline(folder, "float16", ShapeOptions(), [component])
    work = tmp_path / "work"
    work.mkdir()
    return trace_component(plan, work)


def test_nothing_but_a_result_is_left_behind(traced_demo: TracedDemo) -> None:
    work = traced_demo("float16", "vae_encoder")["vae_encoder"].graph.parent
    assert {entry.name for entry in os.scandir(work)} == {
        "done.json",
        "graph.mindir",
        "request.json",
        "trace.json",
        "trace.log",
    }
    assert json.loads((work / "trace.json").read_text())["plan"]["name"] == "vae_encoder"
