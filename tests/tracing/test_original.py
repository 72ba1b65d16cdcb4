"""Single files under original names: each tensor is what the folder has, cut, joined and turned as need be."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.errors import SourceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.taken import read_taken, values_taken
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import SCHEDULER, write_json
from attnfuse.tracing.folder import PipelineFolder, read_json, read_pipeline
from attnfuse.tracing.layout import flux_tensors
from attnfuse.tracing.original import original_tensors, with_checkpoint
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import plan_all
from attnfuse.tracing.random_weights import write_random
from tests.support.checkpoints import write_small_sd15, write_small_xl
from tests.support.original_files import FLUX, SD15, SDXL, without_weights, write_original
from tests.support.small_models import SMALL, write_configs


def _flux(folder: Path) -> Path:
    write_configs(folder, SMALL["flux"])
    config = SMALL["flux"].models["transformer"]
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    write_random(file, flux_tensors({"guidance_embeds": False, **config}), "bfloat16", "flux")
    values = {key: value.astype(np.float32) for key, value in load_file(file).items()}
    save_file(values, file)
    return folder


@dataclass(frozen=True)
class Case:
    write: Callable[[Path], Path]
    kind: Mapping[str, Any]


CASES = {"sd15": Case(write_small_sd15, SD15), "sdxl": Case(write_small_xl, SDXL), "flux": Case(_flux, FLUX)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A pipeline's folder, and the file with its weights; made once."""
    root = tmp_path_factory.mktemp("original")

    def write(name: str) -> tuple[Path, Path]:
        folder, file = root / name, root / f"{name}.safetensors"
        if not file.exists():
            write_original(CASES[name].write(folder), file, CASES[name].kind)
        return folder, file

    return write


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_is_the_folders(name: str, written: Callable[[str], tuple[Path, Path]]) -> None:
    folder, file = written(name)
    pipeline = with_checkpoint(read_pipeline(folder), file)
    assert set(pipeline.in_checkpoint) == CASES[name].kind.keys()
    opened = TensorFile(file)
    for part in CASES[name].kind:
        (weights,) = (folder / part).glob("*.safetensors")
        stored = load_file(weights)
        found = original_tensors(file, part, pipeline.classes[part], read_json(folder / part / "config.json"))
        assert found.keys() == stored.keys()
        for key, value in stored.items():
            taken = found[key].taken
            assert found[key].shape == value.shape, key
            assert taken is not None
            np.testing.assert_array_equal(values_taken(opened, taken).reshape(value.shape), value, key)
            wanted = value.astype(np.float32)
            assert b"".join(read_taken(opened, taken, dtypes.FLOAT32, [])) == wanted.tobytes(), key
            # As those do who read a weight by rows: across runs and parts.
            first, last = value.size // 3, value.size - value.size // 5
            rows = b"".join(read_taken(opened, taken, dtypes.FLOAT32, [], first, last))
            assert rows == wanted.reshape(-1)[first:last].tobytes(), key


def test_the_last_layer_and_the_projection_that_stable_diffusion_2_leaves_out(
    written: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    folder, file = written("sdxl")
    encoder = {
        key.replace("conditioner.embedders.1", "cond_stage_model"): value
        for key, value in load_file(file).items()
        if key.startswith("conditioner.embedders.1.")
    }
    save_file(encoder, tmp_path / "sd2.safetensors")
    config = {**read_json(folder / "text_encoder_2" / "config.json"), "num_hidden_layers": 2}
    found = original_tensors(tmp_path / "sd2.safetensors", "text_encoder", "CLIPTextModel", config)
    stored = load_file(folder / "text_encoder_2" / "model.safetensors")
    assert found.keys() == {key for key in stored if ".layers.2." not in key and "projection" not in key}


def test_what_fits_nothing_is_named(written: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    folder, file = written("sd15")
    tensors = load_file(file)

    def refused(pipeline: PipelineFolder, **beside: Any) -> str:
        save_file({**tensors, **beside}, tmp_path / "m.safetensors")
        with pytest.raises(SourceError) as caught:
            with_checkpoint(pipeline, tmp_path / "m.safetensors")
        return str(caught.value)

    pipeline = read_pipeline(folder)
    one = np.zeros(2, np.float32)
    lost = {f"control_model.{number}": one for number in range(5)}
    assert "has tensors 'control_model.0', 'control_model.1', 'control_model.2' and 2 more, and " in refused(
        pipeline, **lost
    )
    assert "no part that it could be of" in refused(pipeline, **{"conditioner.embedders.1.model.ln_final.bias": one})
    quantised = {"model.diffusion_model.input_blocks.1.1.proj_in.weight_scale": one}
    assert "is quantised (scale factors beside the weights)" in refused(pipeline, **quantised)
    # A file in diffusers' names, and one of a class whose original names are not known.
    own = folder / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(SourceError, match=r"none under the original names of .*give the folder of the pipeline"):
        with_checkpoint(pipeline, own)
    other = PipelineFolder(folder, "P", {"transformer": "SD3Transformer2DModel"}, {}, {}, {})
    save_file({"model.diffusion_model.joint_blocks.0.x": one}, tmp_path / "sd3.safetensors")
    with pytest.raises(SourceError, match="of SD3Transformer2DModel are not known, but those of UNet2DConditionModel"):
        with_checkpoint(other, tmp_path / "sd3.safetensors")
    # Rows that cannot be cut in three.
    save_file({"double_blocks.0.img_attn.qkv.weight": np.zeros((7, 2), np.float32)}, tmp_path / "f.safetensors")
    with pytest.raises(SourceError, match=r"has shape \[7, 2\], of which transformer_blocks.0.attn.to_q.weight cannot"):
        original_tensors(tmp_path / "f.safetensors", "transformer", "FluxTransformer2DModel", {})


def test_velocities_are_predicted_by_both_or_none(written: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    folder = shutil.copytree(written("sd15")[0], tmp_path / "p")
    save_file({**load_file(written("sd15")[1]), "v_pred": np.zeros(0, np.float32)}, tmp_path / "v.safetensors")
    with pytest.raises(SourceError, match="predicts velocities"):
        with_checkpoint(read_pipeline(folder), tmp_path / "v.safetensors")
    write_json(folder / "scheduler" / "scheduler_config.json", {**SCHEDULER, "prediction_type": "v_prediction"})
    assert with_checkpoint(read_pipeline(folder), tmp_path / "v.safetensors").in_checkpoint


def test_a_plan_of_one(written: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    folder, file = written("sd15")
    bare = without_weights(shutil.copytree(folder, tmp_path / "bare"))
    terms = Terms(checkpoint=file)
    planned = {plan.name: plan for plan in plan_all(bare, "auto", ShapeOptions(), (), (), terms).plans}
    whole = {plan.name: plan for plan in plan_all(folder, "auto", ShapeOptions()).plans}
    assert {plan.checkpoint for plan in planned.values()} == {file}
    said = {name: (plan.dtype, plan.dtype_from) for name, plan in planned.items()}
    assert said == {name: (plan.dtype, plan.dtype_from) for name, plan in whole.items()}
    # What the file lacks is the folder's, or told.
    unet = {key: value for key, value in load_file(file).items() if key.startswith("model.diffusion_model.")}
    save_file(unet, tmp_path / "unet.safetensors")
    terms = Terms(checkpoint=tmp_path / "unet.safetensors")
    plans = plan_all(folder, "auto", ShapeOptions(), (), (), terms).plans
    assert {plan.name: plan.checkpoint is not None for plan in plans} == {name: name == "unet" for name in whole}
    lacking = plan_all(bare, "auto", ShapeOptions(), (), (), terms)
    assert [plan.name for plan in lacking.plans] == ["unet"]
    assert lacking.failures["vae_decoder"] == "unet.safetensors has no weights of it, nor has vae"
