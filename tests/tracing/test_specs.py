"""The table of input specifications: entries that hold together, sizes as the pipelines compute them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from attnfuse.errors import TraceError, UsageError
from attnfuse.tracing.contract import DTYPES, ComponentPlan, ShapeOptions
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.parts import Part
from attnfuse.tracing.plan import plan_all, survey
from attnfuse.tracing.specs import FAMILIES, SPECS, family_of
from attnfuse.tracing.specs.record import FLOAT
from tests.support.small_models import SMALL, Small, write_configs


def planned(folder: Path, small: Small, shapes: ShapeOptions | None = None) -> dict[str, ComponentPlan]:
    found = plan_all(write_configs(folder, small), "float16", shapes or small.shapes)
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
    # One that is of another type in some pipelines stands there twice, each time with the pipelines it is for.
    told = [entry.name if entry.when is None else (entry.name, entry.only) for entry in spec.inputs]
    assert len(told) == len(set(told))
    assert not {name for name in names if names.count(name) > 1} & set(told)
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


@pytest.mark.parametrize("name", ["sd3_controlnet", "flux_controlnet", "flux_controlnet_pixels"])
def test_a_controlnet_gives_what_the_transformer_takes(tmp_path: Path, name: str) -> None:
    small = SMALL[name]
    deeper = {**small.models, "controlnet": {**small.models["controlnet"], "num_layers": 2}}
    found = planned(tmp_path, Small(small.pipeline, deeper, shapes=small.shapes))
    call = found["controlnet"].call
    assert call is not None
    given = [output for output, _ in call.outputs]
    taken = shapes_of(found["transformer"])
    assert given == [input_ for input_ in taken if input_.startswith("controlnet")]
    assert given[:2] == ["controlnet_block_0", "controlnet_block_1"]
    tokens, width = taken[given[-1]][1:]
    assert (tokens, width) == ((8 * 6, 32) if name == "sd3_controlnet" else (4 * 6, 32))
    transformer = found["transformer"].call
    assert transformer is not None
    if name != "sd3_controlnet":
        pixels = name == "flux_controlnet_pixels"
        assert dict(transformer.arguments)["controlnet_blocks_repeat"] == str(pixels)
        assert ("controlnet_image" in shapes_of(found["controlnet"])) == pixels
        assert ("controlnet_mode" in shapes_of(found["controlnet"])) != pixels


@pytest.mark.parametrize(
    ("name", "last", "shape"),
    [
        ("hunyuan_dit_controlnet", "controlnet_block_1", (2, 4 * 6, 24)),
        ("sana_controlnet", "controlnet_block_0", (2, 8 * 12, 16)),
        ("qwen_image_controlnet", "controlnet_block_0", (1, 4 * 6, 48)),
        ("animate_diff_sparse", "mid_block_residual", (2 * 3, 32, 4, 6)),
    ],
)
def test_what_other_controlnets_give_is_taken(tmp_path: Path, name: str, last: str, shape: tuple[int, ...]) -> None:
    denoiser, controlnet = planned(tmp_path, SMALL[name]).values()
    assert controlnet.call is not None
    given = [output for output, _ in controlnet.call.outputs]
    taken = shapes_of(denoiser)
    assert given == [input_ for input_ in taken if input_.startswith("controlnet") or "residual" in input_]
    assert given[-1] == last
    assert taken[last] == shape


def test_conditions_of_other_controlnets(tmp_path: Path) -> None:
    def conditions(name: str, **changes: object) -> dict[str, tuple[int, ...]]:
        small = SMALL[name]
        models = {**small.models, "controlnet": {**small.models["controlnet"], **changes}}
        found = planned(tmp_path / f"{name}{len(changes)}", replace(small, models=models))
        return {
            key: shape
            for key, shape in shapes_of(found["controlnet"]).items()
            if "con" in key and key != "conditioning_scale"
        }

    union = conditions("sdxl_controlnet_union")
    assert union == {"controlnet_cond": (2, 3, 20, 24), "control_type": (2, 3), "control_mode": (1,)}
    assert conditions("qwen_image_controlnet")["controlnet_cond"] == (1, 24, 16 + 4)
    assert conditions("qwen_image_controlnet", extra_condition_channels=0)["controlnet_cond"] == (1, 24, 16)
    latents = {"controlnet_cond": (1, 4, 3, 8, 12), "conditioning_mask": (1, 1, 3, 8, 12)}
    assert conditions("animate_diff_sparse") == latents
    pixels = {"controlnet_cond": (1, 3, 3, 64, 96), "conditioning_mask": (1, 1, 3, 64, 96)}
    changes = {"use_simplified_condition_embedding": False, "conditioning_channels": 3}
    assert conditions("animate_diff_sparse", **changes) == pixels
    assert conditions("animate_diff_controlnet") == {"controlnet_cond": (6, 3, 64, 96)}


def test_a_controlnet_without_single_blocks_gives_none(tmp_path: Path) -> None:
    small = SMALL["flux_controlnet"]
    models = {**small.models, "controlnet": {**small.models["controlnet"], "num_single_layers": 0}}
    found = planned(tmp_path, Small(small.pipeline, models, shapes=small.shapes))
    assert [name for name in shapes_of(found["transformer"]) if name.startswith("controlnet")] == ["controlnet_block_0"]


def test_kandinsky(tmp_path: Path) -> None:
    assert shapes_of(planned(tmp_path / "2.1", SMALL["kandinsky"])["unet"]) == {
        "sample": (2, 4, 8, 12),
        "timestep": (1,),
        "encoder_hidden_states": (2, 11, 24),
        "text_embeds": (2, 40),
        "image_embeds": (2, 40),
    }
    plain = planned(tmp_path / "2.2", SMALL["kandinsky22"])["unet"]
    assert plain.call is not None
    assert dict(plain.call.arguments)["encoder_hidden_states"] == "None"
    assert shapes_of(plain)["image_embeds"] == (2, 24)
    hinted = shapes_of(planned(tmp_path / "hint", SMALL["kandinsky22_hint"])["unet"])
    assert hinted["hint"] == (2, 3, 64, 64)
    assert hinted["sample"] == (2, 4, 8, 8)
    with pytest.raises(UsageError, match="height 18 is not a multiple of 4, the square of the MoVQ's downscaling"):
        plan_all(tmp_path / "2.2", "float16", ShapeOptions(height=18))


def test_an_argument_may_be_lists_of_lists(tmp_path: Path) -> None:
    found = planned(tmp_path / "a", SMALL["allegro"])
    assert list(found) == ["transformer", "vae_decoder_tile", "vae_encoder_tile"]
    call = found["transformer"].call
    assert call is not None
    tables = "[[time_cos, time_sin], [height_cos, height_sin], [width_cos, width_sin]]"
    positions = "[time_indices, height_indices, width_indices]"
    assert dict(call.arguments)["image_rotary_emb"] == f"[{tables}, {positions}]"
    shapes = shapes_of(found["transformer"])
    assert shapes["hidden_states"] == (2, 4, 3, 8, 12)
    assert shapes["width_indices"] == (1, 3 * 4 * 6)
    assert shapes_of(found["vae_decoder_tile"]) == {"latents": (1, 4, 6, 4, 4)}
    odd = shapes_of(
        {p.name: p for p in plan_all(tmp_path / "a", "float16", ShapeOptions(frames=9)).plans}["transformer"]
    )
    assert odd["hidden_states"][2] == 3  # eight frames, and one


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
    found = plan_all(write_configs(tmp_path, Small(small.pipeline, models, small.scheduler)), "float16", small.shapes)
    ((name, reason),) = found.failures.items()
    assert name == "controlnet"
    assert reason == f"{next(iter(option))} = {next(iter(option.values()))!r} is not supported"
    assert [plan.name for plan in found.plans] == ["unet", "vae_decoder", "vae_encoder"]


def test_parts_are_told_whole(tmp_path: Path) -> None:
    folder = write_configs(tmp_path, SMALL["sd35"])
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
        plan_all(write_configs(tmp_path, Small("StableDiffusion3Pipeline", models)), "float16", ShapeOptions())


def test_an_image_encoder_is_no_adapters_where_the_picture_is_the_prompt(tmp_path: Path) -> None:
    found = planned(tmp_path / "encoder", SMALL["stable_video_image"])["image_encoder"]
    assert shapes_of(found) == {"pixel_values": (2, 3, 20, 20)}
    unet = {"unet": SMALL["stable_video"].models["unet"]}
    small = Small("StableVideoDiffusionPipeline", unet, shapes=ShapeOptions(height=64, width=96, frames=3))
    assert shapes_of(planned(tmp_path / "unet", small)["unet"]) == {
        "sample": (2, 3, 8, 8, 12),
        "timestep": (1,),
        "encoder_hidden_states": (2, 1, 24),
        "added_time_ids": (2, 3),
    }


def test_the_prior_of_a_picture(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["kandinsky_prior"])
    assert shapes_of(found["prior"]) == {
        "hidden_states": (2, 16),
        "timestep": (),
        "proj_embedding": (2, 16),
        "encoder_hidden_states": (2, 7, 16),
        "attention_mask": (2, 7),
    }
    assert shapes_of(found["text_encoder"]) == {"input_ids": (1, 7)}
    assert shapes_of(found["image_encoder"]) == {"pixel_values": (1, 3, 20, 20)}  # whatever the batch


def test_stable_audio(tmp_path: Path) -> None:
    small = SMALL["stable_audio"]
    found = {plan.name: plan for plan in plan_all(write_configs(tmp_path, small), "float16", small.shapes).plans}
    assert shapes_of(found["transformer"]) == {
        "hidden_states": (2, 6, 12),
        "timestep": (1,),
        "encoder_hidden_states": (2, 9 + 2, 20),
        "global_hidden_states": (2, 1, 40),
        "rotary_cos": (12 + 1, 4),
        "rotary_sin": (12 + 1, 4),
    }
    assert {spec.dtype for spec in found["transformer"].inputs if spec.name == "timestep"} == {"float32"}
    # mindone asks for the type of the parameters before they are turned into another.
    assert found["projection_model_start"].dtype == found["projection_model_end"].dtype == "float32"


def test_a_language_model_gives_the_state_that_the_pipeline_takes(tmp_path: Path) -> None:
    small = SMALL["hunyuan_video"]
    found = planned(tmp_path / "llama", small)["text_encoder"]
    assert small.shapes.sequence_length is not None
    tokens = small.shapes.sequence_length + 95  # the template's, which the denoiser does not see
    assert shapes_of(found) == {"input_ids": (1, tokens), "attention_mask": (1, tokens)}
    assert found.call is not None
    assert found.call.outputs == (("hidden_state", "result[1][-3]"),)
    found = planned(tmp_path / "glm", SMALL["cogview4_glm"])["text_encoder"]
    assert shapes_of(found) == {"input_ids": (2, 16)}
    small = SMALL["qwen_image_qwen"]
    found = planned(tmp_path / "qwen", small)["text_encoder"]
    assert shapes_of(found)["input_ids"] == (2, 5 + 34)
    windowed = {"text_encoder": {**small.models["text_encoder"], "use_sliding_window": True}}
    with pytest.raises(TraceError, match="component text_encoder: use_sliding_window is set"):
        plan_all(write_configs(tmp_path / "window", Small(small.pipeline, windowed)), "float16", small.shapes)


def test_pixart_is_told_sizes_where_it_asks_for_them(tmp_path: Path) -> None:
    plain = planned(tmp_path / "plain", SMALL["pixart_alpha"])["transformer"]
    assert plain.call is not None
    assert ("added_cond_kwargs", "{'resolution': None, 'aspect_ratio': None}") in plain.call.arguments
    assert plain.patches == ("masked_attention",)
    told = planned(tmp_path / "told", SMALL["pixart_alpha_1024"])["transformer"]
    assert told.call is not None
    assert [shapes_of(told)[name] for name in ("resolution", "aspect_ratio")] == [(2, 2), (2, 1)]
    given = '{"resolution": resolution, "aspect_ratio": aspect_ratio}'
    assert [expression for keyword, expression in told.call.arguments if keyword == "added_cond_kwargs"] == [given]


def test_hunyuan_dit(tmp_path: Path) -> None:
    small = SMALL["hunyuan_dit"]
    shapes = shapes_of(planned(tmp_path / "1.1", small)["transformer"])
    assert shapes["encoder_hidden_states_t5"] == (2, 11, 24)
    assert shapes["encoder_hidden_states"] == (2, 77, 24)
    assert shapes["rotary_cos"] == shapes["rotary_sin"] == (4 * 6, 8)
    plain = {"transformer": {**small.models["transformer"], "use_style_cond_and_image_meta_size": False}}
    shapes = shapes_of(planned(tmp_path / "1.2", Small(small.pipeline, plain, shapes=small.shapes))["transformer"])
    assert not {"style", "image_meta_size"} & shapes.keys()


@pytest.mark.parametrize("name", ["kandinsky22_hint", "flux_controlnet"])
def test_frames_of_a_picture_are_a_mistake(tmp_path: Path, name: str) -> None:
    planned(tmp_path / "a", SMALL[name])
    with pytest.raises(UsageError, match=r"^9 frames are of a video, and .*Pipeline is for pictures; drop them\.$"):
        plan_all(tmp_path / "a", "float16", ShapeOptions(frames=9))


def test_what_depends_on_a_part_of_an_unknown_class_is_told(tmp_path: Path) -> None:
    planned(tmp_path / "a", SMALL["sd_adapter"])
    index = json.loads((tmp_path / "a" / "model_index.json").read_text())
    write_json(tmp_path / "a" / "model_index.json", {**index, "adapter": ["diffusers", "NewestAdapter"]})
    failures = plan_all(tmp_path / "a", "float16", ShapeOptions()).failures
    assert failures["adapter"].startswith("class NewestAdapter is not supported")
    assert failures["unet"] == "it depends on adapter, whose class, NewestAdapter, is not supported there"


def test_frames_and_latents_of_a_video(tmp_path: Path) -> None:
    found = planned(tmp_path / "a", SMALL["cogvideox_rotary"])["transformer"]
    assert shapes_of(found)["hidden_states"] == (2, 3, 4, 8, 12)
    assert shapes_of(found)["rotary_cos"] == (3 * 4 * 6, 16)
    newer = {**SMALL["cogvideox_rotary"].models["transformer"], "patch_size_t": 2}
    small = Small("CogVideoXPipeline", {"transformer": newer}, "CogVideoXDPMScheduler", ShapeOptions(frames=9))
    found = planned(tmp_path / "b", small)["transformer"]
    assert shapes_of(found)["hidden_states"] == (2, 4, 4, 8, 8)  # three latents, filled up to two pairs
    assert shapes_of(found)["rotary_cos"] == (2 * 4 * 4, 16)
    with pytest.raises(UsageError, match="8 frames are not a multiple of 4, and one"):
        plan_all(tmp_path / "a", "float16", ShapeOptions(frames=8))


def test_cosmos(tmp_path: Path) -> None:
    found = planned(tmp_path / "text", SMALL["cosmos"])
    assert shapes_of(found["transformer"]) == {
        "hidden_states": (1, 4, 2, 8, 12),
        "timestep": (1,),
        "encoder_hidden_states": (1, 11, 24),
        "padding_mask": (1, 1, 64, 96),
    }
    assert shapes_of(found["vae_decoder"]) == {"latents": (1, 4, 2, 8, 12)}
    assert found["text_encoder"].dtype == "float32"
    told = {name: planned(tmp_path / name, SMALL[name])["transformer"] for name in ("cosmos_video", "cosmos2_video")}
    assert shapes_of(told["cosmos_video"])["hidden_states"] == (1, 4, 3, 8, 12)
    assert shapes_of(told["cosmos_video"])["condition_mask"] == (1, 1, 3, 8, 12)
    assert shapes_of(told["cosmos2_video"])["frame_timesteps"] == (2,)
    told |= {"cosmos": found["transformer"], "cosmos2": planned(tmp_path / "2", SMALL["cosmos2"])["transformer"]}
    assert shapes_of(told["cosmos2"])["hidden_states"] == (1, 4, 1, 8, 12)
    frames = {"cosmos": "30", "cosmos_video": "30", "cosmos2": "None", "cosmos2_video": "16"}
    for name, plan in told.items():
        assert plan.call is not None
        assert dict(plan.call.arguments)["fps"] == frames[name]


def test_newer_videos(tmp_path: Path) -> None:
    def transformer(name: str) -> dict[str, tuple[int, ...]]:
        return shapes_of(planned(tmp_path / name, SMALL[name])["transformer"])

    assert transformer("sky_reels_2")["encoder_hidden_states_image"] == (1, 257, 40)
    vace = transformer("wan_vace")
    assert (vace["control_hidden_states"], vace["control_hidden_states_scale"]) == ((1, 6, 2, 8, 12), (2,))
    assert transformer("kandinsky5") == {
        "hidden_states": (1, 2, 8, 12, 9),
        "encoder_hidden_states": (1, 7, 20),
        "pooled_projections": (1, 12),
        "timestep": (1,),
        "frame_positions": (2,),
        "row_positions": (4,),
        "column_positions": (6,),
        "text_rope_pos": (7,),
    }
    assert transformer("consis_id") == {
        "hidden_states": (2, 3, 8, 8, 12),
        "encoder_hidden_states": (2, 11, 24),
        "timestep": (2,),
        "rotary_cos": (3 * 4 * 6, 16),
        "rotary_sin": (3 * 4 * 6, 16),
        "id_cond": (1, 12),
        "id_vit_hidden_0": (1, 577, 16),
        "id_vit_hidden_1": (1, 577, 16),
    }


def test_numbers_that_follow_from_sizes_are_arguments(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["ltx"])["transformer"]
    assert found.call is not None
    arguments = dict(found.call.arguments)
    assert [arguments[name] for name in ("num_frames", "height", "width")] == ["2", "2", "3"]
    assert arguments["rope_interpolation_scale"] == "(0.32, 32, 32)"
    assert shapes_of(found)["hidden_states"] == (2, 2 * 2 * 3, 8)


@pytest.mark.parametrize(
    ("name", "component", "option"),
    [
        ("sana", "transformer", {"guidance_embeds": True}),
        ("sky_reels_2", "transformer", {"pos_embed_seq_len": 514}),
        ("sd3_controlnet", "controlnet", {"use_pos_embed": False}),
        ("sd3_controlnet", "controlnet", {"joint_attention_dim": None}),
        ("kolors", "unet", {"encoder_hid_dim_type": "image_proj"}),
        ("kandinsky", "unet", {"addition_embed_type": None}),
        ("kandinsky22", "unet", {"encoder_hid_dim_type": "text_image_proj"}),
        ("kandinsky22", "movq", {"lookup_from_codebook": True}),
        ("hunyuan_video", "transformer", {"image_condition_type": "token_replace"}),
        ("animate_diff", "unet", {"time_cond_proj_dim": 256}),
    ],
)
def test_options_that_add_inputs_are_refused_by_name(
    tmp_path: Path, name: str, component: str, option: dict[str, object]
) -> None:
    small = SMALL[name]
    models = {**small.models, component: {**small.models[component], **option}}
    folder = write_configs(tmp_path, Small(small.pipeline, models, small.scheduler))
    (part,) = [part for part in survey(folder, "float16", small.shapes) if part.model == component]
    assert part.plans == ()
    assert part.problem.startswith(f"{next(iter(option))} = {next(iter(option.values()))!r} is not supported")


def test_an_option_of_the_pipeline_that_adds_inputs(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["wan_text_picture"])
    assert shapes_of(found["transformer"])["patch_timesteps"] == (1, 2 * 2 * 3)
    assert shapes_of(found["vae_encoder"]) == {"video": (1, 3, 1, 64, 96)}


def test_an_edited_or_given_picture(tmp_path: Path) -> None:
    def transformer(name: str) -> dict[str, tuple[int, ...]]:
        return shapes_of(planned(tmp_path / name, SMALL[name])["transformer"])

    assert transformer("wan_first_last")["encoder_hidden_states_image"] == (2, 257, 40)
    assert transformer("ltx_image")["token_timesteps"] == (2, 2 * 2 * 3)
    assert transformer("ltx_condition")["video_coords"] == (2, 3, 2 * 2 * 3)
    assert transformer("sky_reels_2_forcing")["frame_timesteps"] == (1, 2)
    assert transformer("sana_sprint")["guidance"] == (1,)


def test_pictures_in_stages(tmp_path: Path) -> None:
    def plans(name: str) -> dict[str, dict[str, tuple[int, ...]]]:
        return {part: shapes_of(plan) for part, plan in planned(tmp_path / name, SMALL[name]).items()}

    assert plans("stable_cascade_prior")["prior"] == {
        "sample": (2, 6, 6, 9),
        "timestep_ratio": (2,),
        "clip_text_pooled": (2, 1, 16),
        "clip_text": (2, 7, 16),
        "clip_img": (2, 1, 16),
    }
    assert plans("stable_cascade")["decoder"] == {
        "sample": (1, 4, 21, 32),
        "timestep_ratio": (1,),
        "clip_text_pooled": (1, 1, 16),
        "effnet": (1, 6, 2, 3),
    }
    assert plans("wuerstchen_prior")["prior"]["encoder_hidden_states"] == (2, 7, 16)
    assert plans("wuerstchen")["decoder"]["embedding"] == (1, 6, 2, 3)
    assert plans("deepfloyd_if_larger")["unet"]["class_labels"] == (2,)
    assert plans("marigold")["text_encoder"] == {"input_ids": (1, 2)}
    assert plans("kandinsky22_combined")["prior_prior"]["encoder_hidden_states"] == (2, 7, 16)
    assert plans("consistency")["unet"] == {"sample": (1, 3, 16, 24), "timestep": (1,), "class_labels": (1,)}
    assert plans("flux_redux")["image_embedder"] == {"image_latents": (1, 16, 24)}


def test_what_mindone_keeps_from_being_traced_is_told(tmp_path: Path) -> None:
    small = SMALL["easy_animate"]
    found = plan_all(write_configs(tmp_path, small), "float16", small.shapes)
    (plan,) = found.plans
    assert shapes_of(plan)["hidden_states"] == (2, 4, 2, 8, 12)
    assert list(found.failures) == ["vae_decoder", "vae_encoder"]
    assert found.failures["vae_decoder"].startswith("AutoencoderKLMagvit cannot be traced: its convolutions keep")


def test_a_language_model_sees_both_texts_and_what_it_wrote(tmp_path: Path) -> None:
    small = SMALL["audio_ldm_2"]
    found = planned(tmp_path / "a", small)
    # One vector of CLAP's and nine tokens, each in a beginning and an end, and all but the last of four that are new.
    assert shapes_of(found["language_model"]) == {"inputs_embeds": (2, 3 + 11 + 3, 24), "attention_mask": (2, 17)}
    assert shapes_of(found["unet"])["encoder_hidden_states"] == (4, 4, 24)
    assert shapes_of(found["unet"])["encoder_hidden_states_1"] == (4, 9, 20)
    odd = {**small.models["unet"], "cross_attention_dim": [[24, 20], [24, 20]]}
    folder = write_configs(tmp_path / "b", Small(small.pipeline, {**small.models, "unet": odd}))
    assert "cross_attention_dim" in plan_all(folder, "float16", small.shapes).failures["unet"]


def test_states_before_layers_that_are_there(tmp_path: Path) -> None:
    small = SMALL["flux2_mistral"]
    outputs = planned(tmp_path / "a", small)["text_encoder"].call.outputs  # type: ignore[union-attr]
    assert [name for name, _ in outputs] == ["hidden_state_10", "hidden_state_20", "hidden_state_30"]
    encoder = small.models["text_encoder"]
    short = {**encoder, "text_config": {**encoder["text_config"], "num_hidden_layers": 29}}
    with pytest.raises(TraceError, match="of its 29 layers"):
        plan_all(write_configs(tmp_path / "b", Small(small.pipeline, {"text_encoder": short})), "float16", small.shapes)


def test_chat_glm_in_bfloat16_is_refused(tmp_path: Path) -> None:
    folder = write_configs(tmp_path, SMALL["kolors_glm"])
    with pytest.raises(TraceError, match="calls the type"):
        plan_all(folder, "bfloat16", SMALL["kolors_glm"].shapes)
