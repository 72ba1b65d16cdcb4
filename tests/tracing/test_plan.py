"""What a pipeline folder's configurations say about its components and their inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnfuse.errors import SourceError, TraceError, UsageError
from attnfuse.tracing.contract import Call, ComponentPlan, ShapeOptions, TensorSpec
from attnfuse.tracing.demo import TEXT_ENCODER, UNET, VAE, write_json
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import plan_all, plan_pipeline
from tests.support.checkpoints import SMALL_VAE, XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, XL_UNET, class_of
from tests.support.small_models import SMALL, write_configs

SD = {"unet": UNET, "vae": VAE, "text_encoder": TEXT_ENCODER}
XL = {"unet": XL_UNET, "vae": SMALL_VAE, "text_encoder": XL_TEXT_ENCODER, "text_encoder_2": XL_TEXT_ENCODER_2}


def pipeline(
    folder: Path, models: dict[str, dict[str, Any]], name: str = "StableDiffusionPipeline", **extra: Any
) -> Path:
    """Write a pipeline's configurations, without weights: a plan needs none."""
    index: dict[str, Any] = {"_class_name": name, "safety_checker": [None, None], **extra}
    for model, config in models.items():
        (folder / model).mkdir(parents=True)
        write_json(folder / model / "config.json", config)
        index[model] = ["diffusers" if "_class_name" in config else "transformers", class_of(config)]
    write_json(folder / "model_index.json", index)
    return folder


def plans(folder: Path, dtype: str = "float16", *components: str, **shapes: Any) -> dict[str, ComponentPlan]:
    found = plan_pipeline(folder, dtype, ShapeOptions(**shapes), components)
    return {plan.name: plan for plan in found}


def test_a_text_of_lumina_2_has_no_more_tokens_than_there_are_turns(tmp_path: Path) -> None:
    write_configs(tmp_path / "l2", SMALL["lumina2"])
    config = json.loads((tmp_path / "l2/transformer/config.json").read_bytes())
    assert config["axes_lens"][0] == 64
    shapes = {"height": 64, "width": 64}
    assert plans(tmp_path / "l2", "float16", "transformer", **shapes)["transformer"].inputs[2].shape[1] == 64
    with pytest.raises(
        UsageError, match=r"sequence length 65 is more than the transformer's \(axes_lens\) 64 positions"
    ):
        plans(tmp_path / "l2", "float16", "transformer", **shapes, sequence_length=65)


def outputs_of(plan: ComponentPlan) -> dict[str, str]:
    assert plan.call is not None
    return dict(plan.call.outputs)


def test_stable_diffusion(tmp_path: Path) -> None:
    found = plans(pipeline(tmp_path, SD, scheduler=["diffusers", "PNDMScheduler"]))
    assert list(found) == ["unet", "vae_decoder", "vae_encoder", "text_encoder"]
    assert found["unet"] == ComponentPlan(
        name="unet",
        model="unet",
        class_name="UNet2DConditionModel",
        library="diffusers",
        folder=tmp_path / "unet",
        call=Call(
            "",
            (
                ("sample", "sample"),
                ("timestep", "timestep"),
                ("encoder_hidden_states", "encoder_hidden_states"),
                ("return_dict", "False"),
            ),
            (("sample", "result[0]"),),
        ),
        dtype="float16",
        inputs=(
            TensorSpec("sample", (2, 4, 16, 16), "float16"),
            TensorSpec("timestep", (1,), "int64"),
            TensorSpec("encoder_hidden_states", (2, 77, 64), "float16"),
        ),
        package="",
        variant="",
        checkpoint=None,
        processors=(),
        ip_adapter=None,
        patches=(),
        fixed=(),
    )
    assert found["vae_decoder"].inputs == (TensorSpec("latents", (1, 4, 16, 16), "float16"),)
    assert found["vae_decoder"].folder == tmp_path / "vae"
    assert found["vae_encoder"].inputs == (TensorSpec("image", (1, 3, 128, 128), "float16"),)
    assert found["text_encoder"].inputs == (TensorSpec("input_ids", (1, 77), "int64"),)
    assert found["text_encoder"].library == "transformers"


def test_shapes_asked_for(tmp_path: Path) -> None:
    found = plans(pipeline(tmp_path, SD), "float32", batch=3, height=64, width=256, sequence_length=20)
    shapes = {name: [spec.shape for spec in plan.inputs] for name, plan in found.items()}
    assert shapes == {
        "unet": [(6, 4, 8, 32), (1,), (6, 20, 64)],
        "vae_decoder": [(3, 4, 8, 32)],
        "vae_encoder": [(3, 3, 64, 256)],
        "text_encoder": [(3, 20)],
    }


def test_xl(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, XL, "StableDiffusionXLPipeline", scheduler=["diffusers", "EulerDiscreteScheduler"])
    found = plans(folder)
    assert list(found) == ["unet", "vae_decoder", "vae_encoder", "text_encoder", "text_encoder_2"]
    call = found["unet"].call
    assert call is not None
    assert ("added_cond_kwargs", '{"text_embeds": text_embeds, "time_ids": time_ids}') in call.arguments
    assert found["unet"].inputs[1:] == (
        TensorSpec("timestep", (1,), "float32"),  # Euler's timesteps are not whole numbers
        TensorSpec("encoder_hidden_states", (2, 77, 80), "float16"),
        TensorSpec("text_embeds", (2, 40), "float16"),
        TensorSpec("time_ids", (2, 6), "float16"),
    )
    assert outputs_of(found["text_encoder"]) == {
        "penultimate_hidden_state": "result[2][-2]",
        "pooler_output": "result[1]",
    }
    assert outputs_of(found["text_encoder_2"]) == {
        "penultimate_hidden_state": "result[2][-2]",
        "text_embeds": "result[0]",
    }


@pytest.mark.parametrize(
    ("dtype", "force_upcast", "decoder", "encoder"),
    [
        ("float16", None, "float32", "float32"),
        ("float16", True, "float32", "float32"),
        ("float16", False, "float16", "float16"),
        ("bfloat16", True, "bfloat16", "float32"),
        ("float32", True, "float32", "float32"),
    ],
)
def test_xl_vae_runs_in_float32_where_mindone_upcasts_it(
    tmp_path: Path, dtype: str, force_upcast: bool | None, decoder: str, encoder: str
) -> None:
    vae = SMALL_VAE if force_upcast is None else {**SMALL_VAE, "force_upcast": force_upcast}
    found = plans(pipeline(tmp_path, {**XL, "vae": vae}, "StableDiffusionXLPipeline"), dtype)
    assert (found["vae_decoder"].dtype, found["vae_encoder"].dtype) == (decoder, encoder)
    assert found["vae_decoder"].inputs[0].dtype == decoder
    assert found["unet"].dtype == dtype


def test_a_live_vae_is_what_it_is_held_in(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, XL, "StableDiffusionXLPipeline", scheduler=["diffusers", "EulerDiscreteScheduler"])
    found = {plan.name: plan for plan in plan_pipeline(folder, "float16", ShapeOptions(), terms=Terms(exactly=True))}
    assert {plan.dtype for plan in found.values()} == {"float16"}
    assert found["vae_encoder"].inputs[0].dtype == "float16"
    assert found["unet"].inputs[1].dtype == "float32"


def test_refiner_has_five_time_ids(tmp_path: Path) -> None:
    unet = {**XL_UNET, "projection_class_embeddings_input_dim": 40 + 5 * 8}
    models = {"unet": unet, "text_encoder_2": XL_TEXT_ENCODER_2}
    found = plans(pipeline(tmp_path, models, "StableDiffusionXLImg2ImgPipeline", text_encoder=[None, None]))
    assert list(found) == ["unet", "text_encoder_2"]
    assert found["unet"].inputs[-1].shape == (2, 5)


def test_only_a_unet(tmp_path: Path) -> None:
    found = plans(pipeline(tmp_path, {"unet": XL_UNET}, "StableDiffusionXLPipeline"))
    assert [spec.shape for spec in found["unet"].inputs] == [(2, 4, 8, 8), (1,), (2, 77, 80), (2, 40), (2, 6)]


def test_chosen_components_keep_the_order(tmp_path: Path) -> None:
    assert list(plans(pipeline(tmp_path, SD), "float16", "text_encoder", "unet")) == ["unet", "text_encoder"]


def test_single_model_folder(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", VAE)
    found = plans(tmp_path)
    assert [plan.folder for plan in found.values()] == [tmp_path, tmp_path]
    assert found["vae_decoder"].inputs[0].shape == (1, 4, 16, 16)


def test_single_text_encoder(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", XL_TEXT_ENCODER_2)
    found = plans(tmp_path)["text_encoder"]
    assert outputs_of(found) == {"last_hidden_state": "result[1]", "text_embeds": "result[0]"}


def test_oblong_sample_size(tmp_path: Path) -> None:
    found = plans(pipeline(tmp_path, {"unet": {**UNET, "sample_size": [8, 24]}}))
    assert found["unet"].inputs[0].shape == (2, 4, 8, 24)


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ("vae_decodr", "did you mean 'vae_decoder'"),
        ("Unet", "did you mean 'unet'"),
        ("qqq", "known: unet, vae_decoder, vae_encoder, text_encoder"),
        ("text_encoder_2", "has no component 'text_encoder_2'; did you mean 'text_encoder'"),
    ],
)
def test_unknown_component(tmp_path: Path, component: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plans(pipeline(tmp_path, SD), "float16", component)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"batch": 0}, "batch 0 is not a positive number"),
        ({"sequence_length": -1}, "sequence length -1 is not"),
        ({"height": 100}, "height 100 is not a multiple of 8"),
        ({"width": 4}, "width 4 is not a multiple of 8"),
        ({"sequence_length": 78}, "more than the text encoder's 77"),
    ],
)
def test_bad_shapes(tmp_path: Path, shapes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_pipeline(pipeline(tmp_path, SD), "float16", ShapeOptions(**shapes))


def test_bad_dtype(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'int8' is not one of"):
        plans(pipeline(tmp_path, SD), "int8")


def test_not_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a diffusers pipeline folder"):
        plans(tmp_path)
    with pytest.raises(SourceError, match="is not a folder"):
        plans(tmp_path / "absent")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json"])
def test_broken_json(tmp_path: Path, file: str, content: bytes) -> None:
    (pipeline(tmp_path, SD) / file).write_bytes(content)
    with pytest.raises(SourceError, match=file):
        plans(tmp_path)


@pytest.mark.parametrize("entry", ["notalist", [], ["AutoencoderKL"], [None, "AutoencoderKL"], ["a", "b", "c"], {}, 1])
def test_an_entry_for_a_model_that_names_no_class(tmp_path: Path, entry: object) -> None:
    """It would be left out without a word."""
    pipeline(tmp_path, {"unet": SD["unet"]}, vae=entry)
    with pytest.raises(SourceError, match=r"model_index\.json: vae is .*, not a pair of a library and a class\.$"):
        plans(tmp_path)


@pytest.mark.parametrize("entry", [None, [None, None]])
def test_a_model_that_is_left_out_and_options_of_the_pipeline(tmp_path: Path, entry: object) -> None:
    options: dict[str, Any] = {
        "requires_safety_checker": True,
        "force_zeros_for_empty_prompt": False,
        "_name_or_path": "x",
        "n": [1],
    }
    pipeline(tmp_path, {"unet": SD["unet"], "text_encoder": SD["text_encoder"]}, vae=entry, **options)
    assert plans(tmp_path).keys() == {"unet", "text_encoder"}


def test_missing_parts(tmp_path: Path) -> None:
    pipeline(tmp_path, SD)
    (tmp_path / "unet" / "config.json").unlink()
    with pytest.raises(SourceError, match=r"unet/config\.json does not exist"):
        plans(tmp_path)
    (tmp_path / "unet").rmdir()
    with pytest.raises(SourceError, match="names component unet, but there is no folder"):
        plans(tmp_path)


def test_a_damaged_part_that_others_do_not_read_loses_itself_only(tmp_path: Path) -> None:
    write_configs(tmp_path, SMALL["sd3"])
    whole = plan_all(tmp_path, "float16", SMALL["sd3"].shapes)
    broken = tmp_path / "text_encoder_2" / "config.json"
    broken.write_text("{")
    planned = plan_all(tmp_path, "float16", SMALL["sd3"].shapes)
    assert planned.plans == tuple(plan for plan in whole.plans if plan.name != "text_encoder_2")
    assert planned.failures.keys() == {"text_encoder_2"}
    assert planned.failures["text_encoder_2"].startswith("text_encoder_2/config.json cannot be read as JSON")
    broken.unlink()
    broken.parent.rmdir()
    planned = plan_all(tmp_path, "float16", SMALL["sd3"].shapes)
    assert planned.failures == {
        "text_encoder_2": "model_index.json names component text_encoder_2, but there is no folder text_encoder_2"
    }


@pytest.mark.parametrize("value", [None, "64", 0, -1, 1.5, [], [64, "64"], {}])
def test_values_of_the_wrong_kind(tmp_path: Path, value: object) -> None:
    with pytest.raises(SourceError, match=r"unet/config\.json: cross_attention_dim is .*, not a positive number"):
        plans(pipeline(tmp_path, {"unet": {**UNET, "cross_attention_dim": value}}))


def test_one_number_where_one_is_needed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"in_channels is .*, not one number"):
        plans(pipeline(tmp_path, {"unet": {**UNET, "in_channels": [4, 4]}}))


def test_no_sample_size_needs_both_sizes(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, {"unet": {**UNET, "sample_size": None}})
    assert plans(folder, height=64, width=32)["unet"].inputs[0].shape == (2, 4, 8, 4)
    with pytest.raises(SourceError, match="sample_size is null"):
        plans(folder, height=64)


def test_context_that_differs_by_block(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="differs from block to block"):
        plans(pipeline(tmp_path, {"unet": {**UNET, "cross_attention_dim": [64, 64, 64, 32]}}))


def test_unsupported_classes(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, {"vae": VAE}, "FluxPipeline", transformer=["diffusers", "NoSuchTransformer"])
    with pytest.raises(TraceError, match="component transformer: class NoSuchTransformer is not supported"):
        plans(folder)
    assert list(plans(folder, "float16", "vae_decoder")) == ["vae_decoder"]


def test_unsupported_class_in_a_known_place(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, {"vae": {**VAE, "_class_name": "ConsistencyDecoderVAE"}})
    with pytest.raises(TraceError, match="component vae: class ConsistencyDecoderVAE is not supported"):
        plans(folder)


def test_nothing_to_compile(tmp_path: Path) -> None:
    write_json(tmp_path / "model_index.json", {"_class_name": "X", "scheduler": ["diffusers", "PNDMScheduler"]})
    with pytest.raises(TraceError, match="nothing to compile"):
        plans(tmp_path)


@pytest.mark.parametrize(
    "option",
    [
        {"class_embed_type": "timestep"},
        {"addition_embed_type": "image"},
        {"encoder_hid_dim": 8},
        {"attention_type": "gated"},
    ],
)
def test_unsupported_unet_options(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(TraceError, match=next(iter(option))):
        plans(pipeline(tmp_path, {"unet": {**UNET, **option}}))


def test_latent_consistency_takes_guidance_and_single_rows(tmp_path: Path) -> None:
    models = {**SD, "unet": {**UNET, "time_cond_proj_dim": 256}}
    unet = plans(pipeline(tmp_path / "text", models))["unet"]
    shapes = {spec.name: spec.shape for spec in unet.inputs}
    assert (shapes["sample"][0], shapes["timestep_cond"]) == (1, (1, 256))
    # Beside a ControlNet, from a picture, mindone's pipelines hand over none, and double the rows.
    kind = "StableDiffusionControlNetImg2ImgPipeline"
    unet = plans(pipeline(tmp_path / "picture", models, kind))["unet"]
    shapes = {spec.name: spec.shape for spec in unet.inputs}
    assert shapes["sample"][0] == 2
    assert "timestep_cond" not in shapes


def test_unsupported_text_encoder_option(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="component text_encoder: use_attention_mask"):
        plans(pipeline(tmp_path, {"text_encoder": {**TEXT_ENCODER, "use_attention_mask": True}}))


def test_contradictory_xl_widths(tmp_path: Path) -> None:
    unet = {**XL_UNET, "projection_class_embeddings_input_dim": 41}
    with pytest.raises(SourceError, match="projection_class_embeddings_input_dim 41"):
        plans(pipeline(tmp_path, {**XL, "unet": unet}, "StableDiffusionXLPipeline"))


def test_single_model_of_an_unknown_class(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BartModel"]}))
    with pytest.raises(TraceError, match="BartModel is not supported"):
        plans(tmp_path)


def test_an_unknown_pipeline_is_no_reason_to_refuse_known_models(tmp_path: Path) -> None:
    own = {**SMALL["flux"].models["transformer"]}
    models = {"transformer": own, "text_encoder": TEXT_ENCODER, "vae": SD["vae"]}
    folder = pipeline(tmp_path, models, "NewestPipeline", guider=["diffusers", "NewestGuider"])
    (folder / "guider").mkdir()
    (folder / "guider" / "guider_config.json").write_text("{}")
    found = plan_all(folder, "float16", ShapeOptions(height=64, width=64))
    assert [plan.name for plan in found.plans] == ["transformer", "vae_decoder", "vae_encoder", "text_encoder"]
    assert found.failures == {}
    for plan in found.plans:
        assert plan.warnings[0].startswith("pipeline class NewestPipeline is not known: it is taken to call ")
        assert "as those of Flux do" in plan.warnings[0]


def test_what_the_first_models_family_has_not_is_taken_from_its_own(tmp_path: Path) -> None:
    models = {"unet": SD["unet"], "vae": SMALL["wan"].models["vae"]}
    found = plan_all(pipeline(tmp_path, models, "NewestPipeline"), "float16", ShapeOptions())
    families = {plan.name: plan.warnings[0].partition("as those of ")[2].partition(" do;")[0] for plan in found.plans}
    assert families == {"unet": "Stable Diffusion", "vae_decoder": "Wan", "vae_encoder": "Wan"}


def test_code_of_the_folders_own_is_never_run(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, {"unet": SD["unet"], "vae": SD["vae"]})
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"_class_name": ["my_pipeline", "StableDiffusionPipeline"], "unet": ["my_unet", "UNet2DConditionModel"]}
    write_json(folder / "model_index.json", index)
    for code in ("my_pipeline.py", "unet/my_unet.py"):
        (folder / code).write_text("raise SystemExit('it was run')")
    found = plan_all(folder, "float16", ShapeOptions(height=64, width=64))
    assert found.failures == {
        "unet": "class UNet2DConditionModel is of the folder's own code (unet/my_unet.py), which is never run"
    }
    assert [plan.name for plan in found.plans] == ["vae_decoder", "vae_encoder"]
    said = "pipeline class StableDiffusionPipeline is of the folder's own code (my_pipeline.py), which is never run:"
    assert all(plan.warnings[0].startswith(said) for plan in found.plans)


def names(folder: Path, *components: str, exclude: tuple[str, ...] = ()) -> list[str]:
    return [
        plan.name for plan in plan_all(folder, "float16", ShapeOptions(), components, (), Terms(exclude=exclude)).plans
    ]


def test_a_parts_name_stands_for_all_of_its_components(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, SD)
    assert names(folder, "vae") == ["vae_decoder", "vae_encoder"]
    assert names(folder, "vae", "vae_encoder", "unet") == ["unet", "vae_decoder", "vae_encoder"]


def test_components_that_are_left_alone(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, SD)
    assert names(folder, exclude=("vae", "text_encoder")) == ["unet"]
    assert names(folder, exclude=("vae_encoder",)) == ["unet", "vae_decoder", "text_encoder"]
    assert names(folder, "vae", exclude=("vae_encoder",)) == ["vae_decoder"]
    with pytest.raises(UsageError, match=r"has no component 'vea'; did you mean 'vae'"):
        names(folder, exclude=("vea",))
    with pytest.raises(UsageError, match=r"^--exclude vae leaves nothing of .* to compile; drop one"):
        names(folder, "vae_decoder", exclude=("vae",))


def test_types_of_single_components(tmp_path: Path) -> None:
    """Each in its own, inputs with it; a component's comes before its part's, and a named one before the pipeline's."""
    folder = pipeline(tmp_path, XL, "StableDiffusionXLPipeline")
    usual = plans(folder)
    assert {name: plan.dtype for name, plan in usual.items() if plan.dtype != "float16"} == {
        "vae_decoder": "float32",  # which the pipeline casts up
        "vae_encoder": "float32",
    }
    named = (("text_encoder", "float32"), ("vae", "float16"), ("vae_encoder", "bfloat16"))
    found = plans(folder, dtypes=named)
    assert list(found) == list(usual)
    changed = {name: plan.dtype for name, plan in found.items() if plan != usual[name]}
    assert changed == {"text_encoder": "float32", "vae_decoder": "float16", "vae_encoder": "bfloat16"}
    assert found["vae_decoder"].inputs[0].dtype == "float16"
    assert {spec.dtype for spec in found["unet"].inputs} == {spec.dtype for spec in usual["unet"].inputs}
    warned = {name: plan.warnings[0] for name, plan in found.items() if plan.warnings != usual[name].warnings}
    said = "its type is {}, as --dtype names it, and the pipeline would run it in float32"
    assert warned == {"vae_decoder": said.format("float16"), "vae_encoder": said.format("bfloat16")}
    # The pipeline's own way where a name says auto.
    assert plans(folder, "float32", dtypes=(("vae", "auto"),))["vae_decoder"].dtype == "float32"
    with pytest.raises(UsageError, match="no component 'vea'; did you mean 'vae'"):
        plans(folder, dtypes=(("vea", "float16"),))
    with pytest.raises(UsageError, match="dtype 'half' is not one of auto, float16"):
        plans(folder, dtypes=(("vae", "half"),))
