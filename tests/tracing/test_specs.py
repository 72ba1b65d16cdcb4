"""The table of input specifications: entries that hold together, sizes as the pipelines compute them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from attnfuse.errors import TraceError, UsageError
from attnfuse.tracing.contract import DTYPES, ComponentPlan, ShapeOptions
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.plan import Part, plan_all, survey
from attnfuse.tracing.specs import SPECS
from attnfuse.tracing.specs.families import FAMILIES, family_of
from attnfuse.tracing.specs.record import FLOAT
from tests.support.checkpoints import class_of
from tests.support.small_models import SMALL, Small


def configured(folder: Path, small: Small) -> Path:
    """Write a pipeline's configurations, without weights: a plan needs none."""
    index: dict[str, object] = {"_class_name": small.pipeline, "scheduler": ["diffusers", small.scheduler]}
    for name, config in small.models.items():
        (folder / name).mkdir(parents=True)
        write_json(folder / name / "config.json", config)
        index[name] = ["diffusers" if "_class_name" in config else "transformers", class_of(config)]
    write_json(folder / "model_index.json", index)
    return folder


def planned(folder: Path, small: Small, shapes: ShapeOptions | None = None) -> dict[str, ComponentPlan]:
    found = plan_all(configured(folder, small), "float16", shapes or small.shapes)
    assert found.failures == {}
    return {plan.name: plan for plan in found.plans}


def shapes_of(plan: ComponentPlan) -> dict[str, tuple[int, ...]]:
    return {spec.name: spec.shape for spec in plan.inputs}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.class_name}-{spec.component}-{spec.families[0].name}")
def test_entries_hold_together(spec) -> None:  # type: ignore[no-untyped-def]
    assert spec.models
    assert spec.outputs
    assert set(spec.families) <= set(FAMILIES)
    assert spec.source.startswith(tuple("abcdefghijklmnopqrstuvwxyz"))
    assert spec.source.endswith(".py")
    names = [entry.name for entry in spec.inputs]
    assert len(names) == len(set(names))
    for entry in spec.inputs:
        assert entry.dtype in (FLOAT, "timestep", *DTYPES)
        assert (entry.when is None) == (entry.only == "")
    for refusal in spec.refuse:
        assert refusal.allowed


def test_no_two_entries_claim_the_same_call() -> None:
    claims = Counter(
        (spec.class_name, family.name, model, spec.component)
        for spec in SPECS
        for family in spec.families
        for model in spec.models
    )
    assert [claim for claim, times in claims.items() if times > 1] == []


def test_no_two_families_claim_the_same_pipeline() -> None:
    names = [name for family in FAMILIES for name in family.pipelines]
    assert len(names) == len(set(names))
    assert all(family_of(name) is family for family in FAMILIES for name in family.pipelines)
    assert family_of("NewestPipeline") is None
    assert all(family.sizes.__doc__ for family in FAMILIES)


def test_stable_diffusion_3(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["sd3"])
    assert list(found) == [
        "transformer",
        "vae_decoder",
        "vae_encoder",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
    ]
    assert shapes_of(found["transformer"]) == {
        "hidden_states": (2, 4, 12, 16),
        "encoder_hidden_states": (2, 77 + 11, 24),
        "pooled_projections": (2, 20),
        "timestep": (2,),
    }
    assert found["transformer"].inputs[-1].dtype == "float32"
    assert shapes_of(found["text_encoder_2"]) == {"input_ids": (1, 77)}
    assert shapes_of(found["text_encoder_3"]) == {"input_ids": (1, 11)}


def test_stable_diffusion_3_without_t5_has_zeros_in_its_place(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["sd35"])
    assert shapes_of(found["transformer"])["encoder_hidden_states"] == (2, 77 + 77, 24)


def test_flux(tmp_path: Path) -> None:
    small = SMALL["flux"]
    found = planned(tmp_path / "dev", small)
    assert shapes_of(found["transformer"]) == {
        "hidden_states": (1, 4 * 6, 16),
        "encoder_hidden_states": (1, 11, 24),
        "pooled_projections": (1, 32),
        "timestep": (1,),
        "img_ids": (24, 3),
        "txt_ids": (11, 3),
        "guidance": (1,),
    }
    assert shapes_of(found["text_encoder"]) == {"input_ids": (1, 77)}
    assert shapes_of(found["text_encoder_2"]) == {"input_ids": (1, 11)}
    schnell = {**small.models, "transformer": {**small.models["transformer"], "guidance_embeds": False}}
    defaults = planned(tmp_path / "schnell", Small(small.pipeline, schnell), ShapeOptions(batch=2))
    assert "guidance" not in shapes_of(defaults["transformer"])
    assert shapes_of(defaults["transformer"])["hidden_states"] == (2, 64 * 64, 16)
    assert shapes_of(defaults["transformer"])["encoder_hidden_states"] == (2, 512, 24)
    with pytest.raises(UsageError, match="sequence length 513 is more than the text encoder's 512"):
        plan_all(tmp_path / "dev", "float16", ShapeOptions(sequence_length=513))
    with pytest.raises(UsageError, match="height 72 is not a multiple of 16, the VAE's downscaling and the packing"):
        plan_all(tmp_path / "dev", "float16", ShapeOptions(height=72))


def test_guidance_can_be_asked_for_or_not(tmp_path: Path) -> None:
    small = SMALL["sd35"]
    found = planned(tmp_path / "a", small, ShapeOptions(guidance=False))
    assert shapes_of(found["transformer"])["timestep"] == (1,)
    found = planned(tmp_path / "b", SMALL["flux"], ShapeOptions(guidance=True, height=32, width=32))
    assert shapes_of(found["transformer"])["timestep"] == (2,)


def test_a_controlnet_gives_what_the_unet_takes(tmp_path: Path) -> None:
    for name, count in (("sd_controlnet", 4), ("sdxl_controlnet", 6)):
        found = planned(tmp_path / name, SMALL[name])
        assert list(found)[:2] == ["unet", "controlnet"]
        call = found["controlnet"].call
        assert call is not None
        given = [output for output, _ in call.outputs]
        assert given == [*(f"down_block_residual_{i}" for i in range(count)), "mid_block_residual"]
        taken = shapes_of(found["unet"])
        assert [input_ for input_ in taken if "residual" in input_] == given
        assert taken["down_block_residual_0"] == (2, 32, 10, 12)
        assert taken["mid_block_residual"] == (2, 64, 5, 6)
        assert shapes_of(found["controlnet"])["controlnet_cond"] == (2, 3, 20, 24)


def test_an_adapter_gives_what_the_unet_takes(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["sd_adapter"])
    taken = shapes_of(found["unet"])
    assert {name: taken[name] for name in taken if "adapter" in name} == {
        "adapter_feature_0": (2, 32, 8, 12),
        "adapter_feature_1": (2, 64, 4, 6),
    }
    assert shapes_of(found["adapter"]) == {"image": (1, 3, 16, 24)}


@pytest.mark.parametrize("option", [{"conditioning_channels": 1}, {"global_pool_conditions": True}])
def test_options_of_a_controlnet_that_are_refused(tmp_path: Path, option: dict[str, object]) -> None:
    small = SMALL["sd_controlnet"]
    models = {**small.models, "controlnet": {**small.models["controlnet"], **option}}
    found = plan_all(configured(tmp_path, Small(small.pipeline, models, small.scheduler)), "float16", small.shapes)
    ((name, reason),) = found.failures.items()
    assert name == "controlnet"
    assert reason == f"{next(iter(option))} = {next(iter(option.values()))!r} is not supported"
    assert [plan.name for plan in found.plans] == ["unet", "vae_decoder", "vae_encoder"]


def test_parts_are_told_whole(tmp_path: Path) -> None:
    folder = configured(tmp_path, SMALL["sd35"])
    index = {
        "_class_name": "StableDiffusion3Pipeline",
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "image_encoder": ["transformers", "SiglipVisionModel"],
        "feature_extractor": ["transformers", "SiglipImageProcessor"],
        "text_encoder_3": ["transformers", "NewestEncoder"],
        "scheduler": [None, None],
    }
    write_json(folder / "model_index.json", index)
    parts = {part.model: part for part in survey(folder, "float16", SMALL["sd35"].shapes)}
    assert {name for name, part in parts.items() if not part.is_network} == {
        "tokenizer",
        "image_encoder",
        "feature_extractor",
    }
    problem = "class NewestEncoder is not supported; say with --inputs what it is called with"
    assert parts["text_encoder_3"] == Part("text_encoder_3", "NewestEncoder", ("text_encoder_3",), problem=problem)
    assert [plan.name for plan in parts["transformer"].plans] == ["transformer"]


def test_a_class_in_a_family_that_does_not_call_it(tmp_path: Path) -> None:
    models = {"transformer": SMALL["flux"].models["transformer"]}
    with pytest.raises(TraceError, match=r"the family Stable Diffusion 3 calls Flux\w+ there is not known"):
        plan_all(configured(tmp_path, Small("StableDiffusion3Pipeline", models)), "float16", ShapeOptions())
