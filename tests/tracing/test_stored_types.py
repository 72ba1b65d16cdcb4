"""Which type a component is traced in where none is named: that of its checkpoint, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnfuse.tracing.checkpoint import StoredTensor
from attnfuse.tracing.contract import FLOAT_DTYPES, ShapeOptions
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import plan_all
from attnfuse.tracing.stored_types import Chosen, choose_dtype
from tests.support.checkpoints import SMALL_VAE, XL_TEXT_ENCODER, XL_UNET, write_model

NO_BFLOAT16 = ("float16", "float32")


def stored(**counts: int) -> dict[str, StoredTensor]:
    """A tensor of each type, of as many elements."""
    return {name: StoredTensor(Path("m"), name, name, (count,)) for name, count in counts.items()}


@pytest.mark.parametrize(
    ("tensors", "dtype", "message"),
    [
        (stored(float16=4), "float16", "float16"),
        (stored(bfloat16=4), "bfloat16", "bfloat16"),
        (stored(float32=4), "float16", "float32"),
        (stored(float64=4), "float16", "float64"),
        (stored(float32=1, bfloat16=200), "bfloat16", "bfloat16 (99 % of it) and float32"),
        # By bytes, not by elements.
        (stored(float32=6, bfloat16=10), "float16", "float32 (54 % of it) and bfloat16"),
        (stored(float8_e4m3fn=100), "float16", "float8_e4m3fn; float8_e4m3fn is widened without loss"),
        (
            stored(float8_e5m2=100, bfloat16=4),
            "bfloat16",
            "float8_e5m2 (92 % of it) and bfloat16; float8_e5m2 is widened without loss",
        ),
        (
            stored(float32=100, float8_e5m2=4),
            "float16",
            "float32 (99 % of it) and float8_e5m2; float8_e5m2 is widened without loss",
        ),
        (stored(float16=4, int64=100, bool=3), "float16", "float16"),
    ],
)
def test_the_type_most_of_it_is_stored_in(tensors: dict[str, StoredTensor], dtype: str, message: str) -> None:
    # What config.json says is a hint, and of no weight beside the checkpoint.
    chosen = choose_dtype(tensors, {"torch_dtype": "float32"}, FLOAT_DTYPES)
    assert chosen == Chosen(dtype, f"its checkpoint is stored in {message}")


@pytest.mark.parametrize(
    ("config", "dtype", "message"),
    [
        ({}, "float16", "the default, its weights not being here"),
        ({"torch_dtype": "bfloat16"}, "bfloat16", "config.json says bfloat16"),
        ({"dtype": "torch.bfloat16"}, "bfloat16", "config.json says bfloat16"),
        ({"torch_dtype": "float32"}, "float16", "config.json says float32"),
        ({"torch_dtype": "int8"}, "float16", "the default, its weights not being here"),
    ],
)
def test_a_hint_where_the_weights_are_not_here(config: dict[str, Any], dtype: str, message: str) -> None:
    assert choose_dtype({}, config, FLOAT_DTYPES) == Chosen(dtype, message)


def test_a_soc_without_bfloat16() -> None:
    message = "its checkpoint is stored in bfloat16, and the SoC has no bfloat16"
    assert choose_dtype(stored(bfloat16=4), {}, NO_BFLOAT16) == Chosen("float16", message)
    assert choose_dtype(stored(float16=4), {}, NO_BFLOAT16).dtype == "float16"


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """Parts that are stored in three types, one of which config.json calls by another."""
    write_model(tmp_path / "unet", XL_UNET, "bfloat16")
    write_model(tmp_path / "vae", SMALL_VAE, "float32")
    write_model(tmp_path / "text_encoder", {**XL_TEXT_ENCODER, "torch_dtype": "float32"}, "float16")
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
    }
    write_json(tmp_path / "model_index.json", index)
    return tmp_path


def types(folder: Path, dtype: str, terms: Terms) -> dict[str, tuple[str, str]]:
    planned = plan_all(folder, dtype, ShapeOptions(), (), (), terms)
    assert planned.failures == {}
    for plan in planned.plans:
        assert {spec.dtype for spec in plan.inputs} <= {plan.dtype, "int64", "float32"}
    return {plan.name: (plan.dtype, plan.dtype_from) for plan in planned.plans}


def test_each_part_has_its_own(pipeline: Path) -> None:
    message = "its checkpoint is stored in"
    upcast = ("float32", "the pipeline runs it in that type")
    assert types(pipeline, "auto", Terms()) == {
        "unet": ("bfloat16", f"{message} bfloat16"),
        "vae_decoder": upcast,
        "vae_encoder": upcast,
        "text_encoder": ("float16", f"{message} float16"),
    }
    lacking = types(pipeline, "auto", Terms(floats=NO_BFLOAT16))
    assert lacking["unet"] == ("float16", f"{message} bfloat16, and the SoC has no bfloat16")


def test_a_type_that_is_named_is_for_all(pipeline: Path) -> None:
    found = types(pipeline, "float32", Terms())
    assert {dtype for dtype, _ in found.values()} == {"float32"}
    assert found["unet"][1] == "asked for; its checkpoint is stored in bfloat16"
