"""Streamed weights must be, bit for bit, what mindone's own loader would have put into the model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from attnfuse.serialisation import from_json
from attnfuse.tracing.contract import ShapeOptions, StoredWeight
from attnfuse.tracing.layout import vae_tensors
from attnfuse.tracing.plan import plan_pipeline
from attnfuse.tracing.random_weights import write_random
from attnfuse.tracing.runner import trace_component
from tests.support import forks
from tests.support.checkpoints import SMALL_VAE, XL_TEXT_ENCODER_2, write_model
from tests.support.odd_weights import OTHERS
from tests.support.small_models import SMALL, Small, write_configs
from tests.support.small_models.record import T5

ROOT = Path(__file__).resolve().parents[2]
NUMPY = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "int32": np.int32}

pytestmark = pytest.mark.mindspore


def run_worker_side(module: str, *arguments: str) -> None:
    done = forks.script("-m", module, *arguments)
    assert done.returncode == 0, done.stderr[-4000:]


def compare(
    folder: Path, work: Path, *dtypes: str, in_float32: tuple[str, ...] = ()
) -> list[dict[str, list[StoredWeight]]]:
    """Assert that every parameter of every model in `folder` streams as mindone loads it; return sources by type.

    Parameters of modules whose names end in one of `in_float32` may be float32 in any case.
    """
    run_worker_side("tests.support.loaded_weights", str(folder), str(work / "out.json"), *dtypes)
    answer: dict[str, Any] = json.loads((work / "out.json").read_text())
    result: list[dict[str, list[StoredWeight]]] = []
    for dtype in dtypes:
        result.append({})
        for model, found in answer[dtype].items():
            sources = [from_json(StoredWeight, source) for source in found["sources"]]
            assert {source.parameter for source in sources} == set(found["loaded"]), model
            for source in sources:
                assert source.dtype == dtype or source.parameter.rpartition(".")[0].endswith(in_float32), source
                assert digest(source) == found["loaded"][source.parameter], source
            result[-1][model] = sources
    return result


def digest(source: StoredWeight) -> str:
    """What a reader of StoredWeight makes of it: the tensor as it lies, its float type converted."""
    with safe_open(source.file, framework="numpy") as file:
        array = file.get_tensor(source.key)
    assert array.shape == source.shape
    return hashlib.sha256(array.astype(NUMPY[source.dtype]).tobytes()).hexdigest()


def test_demo_weights_are_bit_equal_to_mindones(demo_folder: Path, tmp_path: Path) -> None:
    # The UNet is stored in float16 and the rest in float32: both directions, and no direction, of each conversion.
    for sources in compare(demo_folder, tmp_path, "float16", "bfloat16", "float32"):
        assert {model: len(found) for model, found in sources.items()} == {"unet": 684, "vae": 244, "text_encoder": 196}
        # The checkpoint has PyTorch's names; mindone's transformers have others, so names were mapped.
        renamed = {source.parameter: source.key for source in sources["text_encoder"]}
        assert renamed["text_model.final_layer_norm.gamma"] == "text_model.final_layer_norm.weight"
        assert all(source.file.parent.parent == demo_folder for found in sources.values() for source in found)


def test_attention_names_older_than_diffusers_0_12(tmp_path: Path) -> None:
    folder = tmp_path / "vae"
    write_model(folder, SMALL_VAE)
    tensors = vae_tensors(SMALL_VAE, legacy_attention=True)
    write_random(folder / "diffusion_pytorch_model.safetensors", tensors, "float32", "legacy")
    keys = {source.parameter: source.key for source in compare(folder, tmp_path, "float16")[0]["vae"]}
    assert keys["decoder.mid_block.attentions.0.to_q.weight"] == "decoder.mid_block.attentions.0.query.weight"
    assert keys["decoder.mid_block.attentions.0.to_out.0.bias"] == "decoder.mid_block.attentions.0.proj_attn.bias"


def test_sharded_checkpoint_with_projection(tmp_path: Path) -> None:
    folder = tmp_path / "text_encoder_2"
    write_model(folder, XL_TEXT_ENCODER_2)
    shard(folder, "model")
    sources = compare(folder, tmp_path, "bfloat16")[0]["text_encoder"]
    assert {source.file.name for source in sources} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }


def test_t5_keeps_its_last_projections_in_float32(tmp_path: Path) -> None:
    write_configs(tmp_path / "flux", Small("FluxPipeline", {"text_encoder_2": T5}))
    run_worker_side("tests.support.small_weights", str(tmp_path / "flux"))
    folder = tmp_path / "flux" / "text_encoder_2"
    half, brain = compare(folder, tmp_path, "float16", "bfloat16", in_float32=(".wo",))
    kept = {source.parameter for source in half["text_encoder_3"] if source.dtype == "float32"}
    assert kept == {f"encoder.block.{i}.layer.1.DenseReluDense.wo.weight" for i in range(2)}
    assert {source.dtype for source in brain["text_encoder_3"]} == {"bfloat16"}


def test_names_of_before_a_model_saw_pictures(tmp_path: Path) -> None:
    # Qwen-Image's text encoder was published so.
    write_configs(tmp_path / "qwen", SMALL["qwen_image_qwen"])
    run_worker_side("tests.support.small_weights", str(tmp_path / "qwen"))
    folder = tmp_path / "qwen" / "text_encoder"
    published = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(published, folder / "model.safetensors", {"format": "pt"})
    keys = {source.parameter: source.key for source in compare(folder, tmp_path, "float16")[0]["text_encoder"]}
    assert keys["model.language_model.layers.0.mlp.up_proj.weight"] == "model.layers.0.mlp.up_proj.weight"
    assert keys["model.visual.blocks.0.norm1.weight"] == "visual.blocks.0.norm1.weight"


def test_what_mindone_computes_is_spilled_and_ties_are_followed(tmp_path: Path) -> None:
    run_worker_side("tests.support.odd_model", str(tmp_path))
    found = json.loads((tmp_path / "out.json").read_text())
    files = {name: Path(source["file"]).name for name, source in found["sources"].items()}
    assert files == {
        "conv.weight": "spilled.safetensors",  # mindone gives a Conv1d weight an axis
        "conv.bias": "diffusion_pytorch_model.safetensors",
        "norm.gamma": "diffusion_pytorch_model.safetensors",
        "norm.beta": "diffusion_pytorch_model.safetensors",
        "steps": "spilled.safetensors",  # float64 in the file
        "count": "spilled.safetensors",  # int64 in the file
        "other.twin": "diffusion_pytorch_model.safetensors",
        "two.twin": "diffusion_pytorch_model.safetensors",
    }
    assert found["sources"]["norm.gamma"]["key"] == "norm.weight"
    assert found["sources"]["other.twin"]["key"] == "tied"  # the file has it under its other name only
    assert found["sources"]["two.twin"]["key"] == "one.twin"  # as T5's `shared` under `encoder.embed_tokens`
    for source in (from_json(StoredWeight, one) for one in found["sources"].values()):
        assert digest(source) == found["loaded"].get(source.parameter, digest(source)), source
    assert set(found["loaded"]) == {"conv.weight", "conv.bias", "norm.gamma", "norm.beta", "steps"}
    spilled = load_file(tmp_path / "work" / "spilled.safetensors")
    assert spilled["conv.weight"].shape == (4, 3, 1, 5)
    check_refused(found["refused"])
    assert found["factor"].startswith("component unet: tensor 'conv.weight' of ")
    assert "is float8_e4m3fn, and the model does not read 'strength'" in found["factor"]
    check_float8({name: from_json(StoredWeight, source) for name, source in found["float8"].items()})


def check_refused(said: dict[str, str]) -> None:
    """Codes are no numbers: nothing is taken for a parameter of another kind, whatever either is called."""
    for key, kind in OTHERS:
        message = said[f"{key}-{np.dtype(kind).name}"]
        assert f"is {np.dtype(kind).name}" in message
        if key == "count":
            assert message.endswith("the checkpoint is not of this model.")
        else:
            assert message.endswith("the codes of a quantised checkpoint; give the unquantised checkpoint.")


def check_float8(sources: dict[str, StoredWeight]) -> None:
    """Floats of eight bits are the same numbers in a wider type."""
    steps = sources["steps"]
    assert (steps.file.name, steps.key, steps.dtype) == ("diffusion_pytorch_model.safetensors", "steps", "float16")
    conv = sources["conv.weight"]
    assert conv.file.name == "spilled.safetensors"
    bits = np.arange(4 * 3 * 5, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn)
    assert digest(conv) == hashlib.sha256(bits.astype(np.float16).tobytes()).hexdigest()


@pytest.mark.slow  # it starts MindSpore twice
def test_weights_that_mindone_norms_are_normed_once(tmp_path: Path) -> None:
    model = SMALL["stable_audio"].models["vae"]
    folder = write_configs(tmp_path / "pipeline", Small("StableAudioPipeline", {"vae": model}))
    run_worker_side("tests.support.small_weights", str(folder))
    stored = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert not any("weight_norm_cell" in name for name in stored)
    (plan,) = plan_pipeline(folder, "float32", ShapeOptions(), ["vae_decoder"])
    sources = {source.parameter: source for source in trace_component(plan, tmp_path).weights}
    assert not any(name.endswith(("weight_v", "weight_g")) for name in sources)
    for name in ("decoder.conv1", "decoder.block.0.conv_t1", "decoder.conv2"):
        direction, lengths = stored[f"{name}.weight_v"].astype(np.float64), stored[f"{name}.weight_g"]
        rows = [row * length.item() / np.linalg.norm(row) for row, length in zip(direction, lengths, strict=True)]
        source = sources[f"{name}.weight_norm_cell.weight"]
        with safe_open(source.file, framework="numpy") as file:
            value = file.get_tensor(source.key)
        np.testing.assert_allclose(value[:, :, 0], np.stack(rows), rtol=3e-7)


def shard(folder: Path, stem: str) -> None:
    """Split a model's one file into two shards and an index."""
    tensors = load_file(folder / f"{stem}.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-0000{i}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / f"{stem}.safetensors").unlink()
