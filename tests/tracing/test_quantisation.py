"""Quantised checkpoints are told by configuration, by companion keys, or by nothing but a weight's type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnfuse.errors import SourceError, TraceError
from attnfuse.progress import Silent
from attnfuse.sources import open_source, survey_source
from attnfuse.tracing.checkpoint import StoredTensor
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.inputs import GivenCall, GivenInput
from attnfuse.tracing.plan import plan_all
from attnfuse.tracing.quantisation import unread_factor
from tests.support.checkpoints import SMALL_VAE, XL_TEXT_ENCODER, write_model
from tests.support.stored import Tensors, write_stored

MODULE = "text_model.encoder.layers.0.mlp.fc1"
WEIGHT = f"{MODULE}.weight"
PLAIN: Tensors = {"text_model.embeddings.position_ids": ("I64", (1, 77)), f"{MODULE}.bias": ("F16", (64,))}

#: What is in the file beside what every such encoder has, and what is said of it.
FILES: dict[str, tuple[Tensors, str]] = {
    "bitsandbytes 8 bit": (
        {WEIGHT: ("I8", (64, 32)), f"{MODULE}.SCB": ("F32", (64,)), f"{MODULE}.weight_format": ("U8", ())},
        "bitsandbytes, 8 bit",
    ),
    "nf4": (
        {
            WEIGHT: ("U8", (1024, 1)),
            f"{WEIGHT}.absmax": ("U8", (32,)),
            f"{WEIGHT}.quant_map": ("F32", (16,)),
            f"{WEIGHT}.quant_state.bitsandbytes__nf4": ("U8", (80,)),
        },
        "bitsandbytes, nf4",
    ),
    "fp4": (
        {WEIGHT: ("U8", (1024, 1)), f"{WEIGHT}.quant_state.bitsandbytes__fp4": ("U8", (80,))},
        "bitsandbytes, fp4",
    ),
    "gptq": (
        {
            f"{MODULE}.qweight": ("I32", (4, 64)),
            f"{MODULE}.scales": ("F16", (1, 64)),
            f"{MODULE}.qzeros": ("I32", (1, 8)),
        },
        "GPTQ or AWQ",
    ),
    "quanto": (
        {f"{WEIGHT}._data": ("I8", (64, 32)), f"{WEIGHT}._scale": ("F16", (64, 1))},
        "optimum-quanto",
    ),
    "compressed-tensors": (
        {f"{MODULE}.weight_packed": ("I32", (64, 4)), f"{MODULE}.weight_scale": ("BF16", (64, 1))},
        "compressed-tensors",
    ),
    "torchao": ({f"{MODULE}._weight_qdata": ("I8", (64, 32)), f"{MODULE}._weight_scale": ("F32", (64,))}, "torchao"),
    "sdnq uint4, packed": (
        {WEIGHT: ("U8", (1024,)), f"{MODULE}.scale": ("BF16", (64, 1)), f"{MODULE}.zero_point": ("BF16", (64, 1))},
        f"uint8): tensor '{WEIGHT}' of text_encoder/model.safetensors is uint8, with '{MODULE}.scale' beside it",
    ),
    "int8_tensorwise": ({WEIGHT: ("I8", (64, 32)), f"{MODULE}.weight_scale": ("F32", ())}, "scale factors"),
    "float8 with factors": ({WEIGHT: ("F8_E4M3", (64, 32)), f"{MODULE}.weight_scale": ("F32", ())}, "scale factors"),
    "float8 of blocks": ({WEIGHT: ("F8_E4M3", (64, 32)), f"{MODULE}.weight_scale_inv": ("F32", (1, 1))}, "blocks"),
    "float8, scaled": (
        {WEIGHT: ("F8_E4M3", (64, 32)), "scaled_fp8": ("F8_E4M3", (0,)), f"{MODULE}.scale_weight": ("F32", ())},
        "float8 or int8 with scale factors",
    ),
    "float8 under a common name": (
        {WEIGHT: ("F8_E5M2", (64, 32)), f"{MODULE}.input_scale": ("F32", ())},
        "float8_e5m2",
    ),
    "float8, its maximum": ({WEIGHT: ("F8_E4M3", (64, 32)), f"{WEIGHT}_amax": ("F32", ())}, f"'{WEIGHT}_amax' beside"),
    "float8, factors by prefix": (
        {WEIGHT: ("F8_E4M3", (64, 32)), f"scales.{WEIGHT}": ("F32", (64, 1))},
        f"'scales.{WEIGHT}' beside",
    ),
    "float8, underlined": (
        {WEIGHT: ("F8_E5M2", (64, 32)), f"{MODULE}_weight_s": ("U8", (64, 1))},
        f"'{WEIGHT}' of text_encoder/model.safetensors is float8_e5m2, with '{MODULE}_weight_s'",
    ),
    "bool and nothing else": ({WEIGHT: ("BOOL", (64, 32))}, f"bool): tensor '{WEIGHT}'"),
    "mlx": (
        {WEIGHT: ("U32", (64, 4)), f"{MODULE}.scales": ("F16", (64, 1)), f"{MODULE}.biases": ("F16", (64, 1))},
        "uint32",
    ),
    "int8 and nothing else": ({WEIGHT: ("I8", (64, 32))}, f"int8): tensor '{WEIGHT}'"),
    "uint8 and nothing else": ({WEIGHT: ("U8", (64, 32))}, "uint8"),
    "int16": ({WEIGHT: ("I16", (64, 32))}, "int16"),
    "int4 in int32": ({WEIGHT: ("I32", (64, 4))}, "int32"),
    "a bias": ({WEIGHT: ("F16", (64, 32)), f"{MODULE}.other.bias": ("I8", (64,))}, "int8"),
}

CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "8 bit": ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "bitsandbytes, 8 bit"),
    "nf4": (
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}},
        "bitsandbytes, nf4",
    ),
    "gptq": ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}, "gptq, 4 bit"),
    "sdnq": ({"quantization_config": {"quant_method": "sdnq", "weights_dtype": "uint4"}}, "sdnq, uint4"),
    "without a method": ({"quantization_config": {"group_size": 64}}, "in a way that is not said"),
    "nested": ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "fp8"),
    "mlx": ({"quantization": {"group_size": 64, "bits": 4}}, "4 bit"),
}


def encoder(folder: Path, tensors: Tensors, config: dict[str, Any] | None = None) -> Path:
    """A pipeline with a good autoencoder and a text encoder that is stored so."""
    write_model(folder / "vae", SMALL_VAE)
    (folder / "text_encoder").mkdir()
    write_json(folder / "text_encoder" / "config.json", {**XL_TEXT_ENCODER, **(config or {})})
    write_stored(folder / "text_encoder" / "model.safetensors", {**PLAIN, **tensors})
    index = {
        "_class_name": "StableDiffusionPipeline",
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
    }
    write_json(folder / "model_index.json", index)
    return folder


def refused(folder: Path) -> str:
    """What is said of the text encoder, with the autoencoder planned."""
    planned = plan_all(folder, "auto", ShapeOptions())
    assert [plan.name for plan in planned.plans] == ["vae_decoder", "vae_encoder"]
    return planned.failures["text_encoder"]


@pytest.mark.parametrize("kind", FILES)
def test_told_by_the_tensors(tmp_path: Path, kind: str) -> None:
    tensors, message = FILES[kind]
    said = refused(encoder(tmp_path, tensors))
    assert said.startswith("its checkpoint is quantised (")
    assert message in said
    assert said.endswith("; give the unquantised checkpoint")
    assert str(tmp_path) not in said


@pytest.mark.parametrize("kind", CONFIGS)
def test_told_by_the_configuration(tmp_path: Path, kind: str) -> None:
    config, message = CONFIGS[kind]
    said = refused(encoder(tmp_path, {WEIGHT: ("F16", (64, 32))}, config))
    assert said.startswith(f"its checkpoint is quantised ({message}): ")
    assert "in text_encoder/config.json; give the unquantised" in said


NOT_QUANTISED: dict[str, tuple[Tensors, dict[str, Any]]] = {
    "plain": ({WEIGHT: ("F32", (64, 32))}, {}),
    "no entry": ({WEIGHT: ("BF16", (64, 32))}, {"quantization_config": None}),
    "float8 without factors": ({WEIGHT: ("F8_E4M3", (64, 32))}, {}),
    "scales that are parameters": (
        {f"{MODULE}.scale": ("F32", (64,)), f"{MODULE}.scale_shift_table": ("F16", (6, 64)), WEIGHT: ("F16", (64, 32))},
        {},
    ),
    "a mask in a buffer": ({"h.0.attn.bias_mask": ("U8", (1, 1, 8, 8)), WEIGHT: ("F16", (64, 32))}, {}),
    "a mask that is called a bias": (
        {"h.0.attn.bias": ("BOOL", (1, 1, 8, 8)), WEIGHT: ("F16", (64, 32))},
        {},
    ),
    "float8, another module's name ending alike": (
        {
            "proj_out.weight": ("F8_E4M3", (64, 32)),
            "blocks.0.proj_out.weight": ("F16", (32, 32)),
            "blocks.0.proj_out.bias": ("F16", (32,)),
        },
        {},
    ),
    "steps that were counted": ({"norm.num_batches_tracked": ("I64", ()), WEIGHT: ("F16", (64, 32))}, {}),
}


@pytest.mark.parametrize("kind", NOT_QUANTISED)
def test_what_is_not_quantised(tmp_path: Path, kind: str) -> None:
    tensors, config = NOT_QUANTISED[kind]
    assert "text_encoder" in {
        plan.name for plan in plan_all(encoder(tmp_path, tensors, config), "auto", ShapeOptions()).plans
    }


@pytest.mark.parametrize(
    ("metadata", "refuses"),
    [
        ({"_quantization_metadata": "{}"}, True),
        ({"text": '{"quant_method": "fp8"}'}, True),
        ({WEIGHT: '{"_type": "Float8Tensor"}'}, True),
        ({"format": "pt"}, False),
    ],
)
def test_told_by_the_metadata_of_a_float8_file(tmp_path: Path, metadata: dict[str, str], refuses: bool) -> None:
    path = encoder(tmp_path, {}) / "text_encoder" / "model.safetensors"
    write_stored(path, {**PLAIN, WEIGHT: ("F8_E4M3", (64, 32))}, metadata=metadata)
    if refuses:
        assert f"is float8_e4m3fn, and the file's metadata has '{next(iter(metadata))}'" in refused(tmp_path)
    else:
        assert plan_all(tmp_path, "auto", ShapeOptions()).failures == {}


def _stored(tensors: Tensors) -> dict[str, StoredTensor]:
    names = {"F8_E4M3": "float8_e4m3fn", "F16": "float16", "F32": "float32", "I64": "int64", "U8": "uint8"}
    return {
        key: StoredTensor(Path("model.safetensors"), key, names[kind], size) for key, (kind, size) in tensors.items()
    }


@pytest.mark.parametrize(
    ("other", "kind", "shape", "may_be"),
    [
        ("a.fc1.s", "F32", (), True),
        ("a.fc1_s", "F16", (64, 1), True),
        ("a.fc1.e8m0", "U8", (64, 1), True),
        ("factors.a.fc1.weight", "F32", (8, 4), True),
        ("elsewhere", "F32", (64,), True),
        ("position_ids", "I64", (1, 77), False),
        ("rotary.inv_freq", "F32", (16,), False),
        ("vision.norm.weight", "F16", (64,), False),
        ("table", "F32", (64, 64), False),
        ("vision.a.fc1.weight", "F16", (64, 64), False),
    ],
)
def test_what_the_model_does_not_read_may_be_a_factor(
    other: str, kind: str, shape: tuple[int, ...], may_be: bool
) -> None:
    weight, bias = "a.fc1.weight", "a.fc1.bias"
    tensors = _stored({weight: ("F8_E4M3", (64, 32)), bias: ("F16", (64,)), other: (kind, shape)})
    said = unread_factor(tensors, {weight, bias}, {weight, bias})
    assert (
        f"{weight!r} of model.safetensors is float8_e4m3fn, and the model does not read {other!r}" in said
    ) == may_be
    assert bool(said) == may_be
    assert unread_factor(tensors, set(tensors), set(tensors)) == ""
    assert unread_factor(_stored({weight: ("F16", (64, 32)), other: (kind, shape)}), {weight}, {weight}) == ""


def test_in_one_of_several_shards(tmp_path: Path) -> None:
    folder = encoder(tmp_path, {}) / "text_encoder"
    (folder / "model.safetensors").unlink()
    write_stored(folder / "model-00001-of-00002.safetensors", PLAIN)
    write_stored(folder / "model-00002-of-00002.safetensors", {WEIGHT: ("I8", (64, 32))})
    names = dict.fromkeys(PLAIN, "model-00001-of-00002.safetensors") | {WEIGHT: "model-00002-of-00002.safetensors"}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": names})
    assert f"tensor '{WEIGHT}' of text_encoder/model-00002-of-00002.safetensors is int8" in refused(tmp_path)


def test_in_a_variant(tmp_path: Path) -> None:
    folder = encoder(tmp_path, {WEIGHT: ("I8", (64, 32))}) / "text_encoder"
    (folder / "model.safetensors").rename(folder / "model.int8.safetensors")
    assert "text_encoder/model.int8.safetensors is int8" in refused(tmp_path)


@pytest.mark.parametrize("name", ["model-Q4_K_S.gguf", "model.safetensors"])
def test_a_gguf_file_in_the_folder(tmp_path: Path, name: str) -> None:
    folder = encoder(tmp_path, {}) / "text_encoder"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"GGUF\x03\0\0\0" + bytes(64))
    assert refused(tmp_path).startswith(f"its checkpoint is quantised (GGUF): text_encoder/{name}; give")


def test_a_gguf_file_beside_a_good_one(tmp_path: Path) -> None:
    folder = encoder(tmp_path, {WEIGHT: ("F16", (64, 32))})
    (folder / "text_encoder" / "model-Q4_K_S.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(64))
    assert plan_all(folder, "auto", ShapeOptions()).failures == {}


def test_a_file_of_the_tools_own(tmp_path: Path) -> None:
    folder = encoder(tmp_path, {WEIGHT: ("F16", (64, 32))})
    write_json(folder / "text_encoder" / "quantization_config.json", {"weights_dtype": "int8"})
    assert "text_encoder/quantization_config.json" in refused(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"quant_backend": "bitsandbytes_4bit", "components_to_quantize": ["text_encoder"]},
        {"quant_mapping": {"text_encoder": {"quant_method": "gguf"}}},
    ],
)
def test_told_by_the_pipeline(tmp_path: Path, entry: dict[str, Any]) -> None:
    folder = encoder(tmp_path, {WEIGHT: ("F16", (64, 32))})
    index = json.loads((folder / "model_index.json").read_bytes())
    write_json(folder / "model_index.json", {**index, "quantization_config": entry})
    assert "quantization_config in model_index.json" in refused(folder)


def test_a_quantised_part_of_which_the_user_says_the_call(tmp_path: Path) -> None:
    folder = encoder(tmp_path, {WEIGHT: ("I8", (64, 32))})
    ids = GivenInput("input_ids", (1, 7), "int64", "")
    given = GivenCall("mine", "text_encoder", "", (ids,), {}, (("output", ""),))
    planned = plan_all(folder, "auto", ShapeOptions(), (), (given,))
    assert "is int8" in planned.failures["mine"]


def test_alone_there_is_nothing_else_to_compile(tmp_path: Path) -> None:
    folder = encoder(tmp_path, {WEIGHT: ("I8", (64, 32))}) / "text_encoder"
    with pytest.raises(TraceError, match=r"component text_encoder: its checkpoint is quantised \(int8\)"):
        plan_all(folder, "auto", ShapeOptions())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "flux1-dev-Q4_K_S.gguf",
            b"GGUF\x03\0\0\0",
            "is a GGUF file, whose weights are quantised; give",
        ),
        ("renamed.mindir", b"GGUF\x03\0\0\0", "is a GGUF file"),
        ("flux1-dev-fp8.safetensors", b"\x02\0\0\0\0\0\0\0{}", "is a file of weights; give the pipeline folder"),
    ],
)
def test_a_file_of_weights_as_source(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        survey_source(str(path), None, ShapeOptions())

    def loaded() -> None:  # a file of weights is refused at once, what may be a graph when it is read
        source = open_source(str(path), (), None, ShapeOptions())
        (component,) = source.names
        with source.opened(tmp_path, 1) as load:
            load(component, Silent(), weights=True)

    with pytest.raises(SourceError, match=message):
        loaded()
