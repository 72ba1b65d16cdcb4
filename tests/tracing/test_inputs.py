"""The user's own inputs: what is read, what is refused, and what comes of it in a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.errors import TraceError, UsageError
from attnfuse.tracing.contract import Call, ComponentPlan, ShapeOptions, TensorSpec
from attnfuse.tracing.demo import VAE, write_json
from attnfuse.tracing.inputs import GivenCall, GivenInput, read_inputs
from attnfuse.tracing.plan import plan_all, plan_pipeline
from tests.support.small_models import SMALL, write_configs

GOOD = """
[latents_to_picture]
part = "vae"
method = "decode"
outputs = ["picture"]

[latents_to_picture.inputs.latents]
shape = [1, 4, 8, 12]
to = "z"

[latents_to_picture.inputs.scale]
shape = [1]
dtype = "float32"
to = "options.scale"

[latents_to_picture.inputs.cos]
shape = []
dtype = "int64"
to = "rotary.0"

[latents_to_picture.fixed]
return_dict = false
mode = "full"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def test_what_is_read(tmp_path: Path) -> None:
    assert read_inputs(written(tmp_path, GOOD)) == (
        GivenCall(
            component="latents_to_picture",
            part="vae",
            method="decode",
            inputs=(
                GivenInput("latents", (1, 4, 8, 12), "float", "z"),
                GivenInput("scale", (1,), "float32", "options.scale"),
                GivenInput("cos", (), "int64", "rotary.0"),
            ),
            fixed={"return_dict": False, "mode": "full"},
            outputs=(("picture", ""),),
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("method =", "methode =", r"spec\.toml \[latents_to_picture\]: unknown key 'methode'; did you mean 'method'\?"),
        ("shape = [1]", "shpe = [1]", r"inputs\.scale\.shape: field required"),
        ('dtype = "float32"', 'dtyp = "float32"', r"unknown key 'inputs\.scale\.dtyp'; did you mean 'dtype'\?"),
        ('dtype = "float32"', 'dtype = "f32"', r"inputs\.scale\.dtype is 'f32', not one of float, float16"),
        ("shape = [1]", "shape = [0]", "greater than or equal to 1"),
        ("shape = [1]", "shape = [1.5]", r"inputs\.scale\.shape\.0"),
        ("shape = [1]", 'shape = ["rows"]', r"inputs\.scale\.shape\.0"),
        ("inputs.scale]", 'inputs."a b"]', "'a b' is no name that a component or an argument can have"),
        ("inputs.scale]", "inputs.self]", "'self' is no name"),
        ("inputs.scale]", "inputs.lambda]", "'lambda' is no name"),
        ('to = "z"', 'to = "z, exec(1)"', r"inputs\.latents: to: 'z, exec\(1\)' is no name"),
        ('method = "decode"', 'method = "decode()"', r"'decode\(\)' is no name"),
        ('"picture"]', '"p c"]', "'p c' is no name"),
        (
            'to = "z"',
            'to = "options"',
            r"inputs\.latents and inputs\.scale both go to the argument 'options'; drop one",
        ),
        ('to = "z"', 'to = "options.scale"', "both go to the argument 'options.scale'"),
        ('to = "z"', 'to = "z..0"', "'' is no name"),
        (
            'to = "z"',
            'to = "rotary.2"',
            r"inputs to 'rotary': its elements are 2, 0; give all of them, in order, as 0, 1",
        ),
        ('to = "rotary.0"', 'to = "rotary.1"', r"inputs to 'rotary': its elements are 1; give all"),
        ('to = "z"', 'to = "rotary.cos"', r"its elements are cos, 0; give all"),
        (
            'to = "rotary.0"',
            'to = "rotary.0.1"',
            r"\[latents_to_picture\] inputs to 'rotary'\.0: its elements are 1; give",
        ),
        ('to = "z"', 'to = "mode"', r"fixed\.mode and inputs\.latents both go to the argument 'mode'"),
        ('["picture"]', '["picture", "picture"]', "two outputs are called 'picture'"),
        ('["picture"]', "[]", "outputs"),
        ('["picture"]', "{}", "outputs"),
        ('["picture"]', '{"p c" = "0"}', "'p c' is no name"),
        ('["picture"]', '{picture = "0]"}', r"outputs\.picture is '0\]', not which element of the result"),
        ('["picture"]', '{picture = "0."}', r"outputs\.picture is '0\.', not"),
        ('["picture"]', "{picture = 0}", r"outputs\.table\.picture: input should be a valid string"),
        ('["picture"]', "3", r"outputs\.list: input should be a valid list"),
        ('mode = "full"', "mode = 1979-05-27", "fixed.mode"),
        ('mode = "full"', "mode = [inf]", "fixed.mode"),
        ("mode = ", "1x = ", "'1x' is no name"),
        (GOOD, "x = 1", r"\[x\] is not a table"),
        (GOOD, "", "name no component"),
        (GOOD, "[x]", "inputs: field required"),
        (GOOD, "[x", "cannot be read as TOML"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(UsageError, match=message):
        read_inputs(written(tmp_path, GOOD.replace(old, new)))


def test_elements_of_elements(tmp_path: Path) -> None:
    text = (
        GOOD.replace('to = "z"', 'to = "past.0.0"')
        .replace('"options.scale"', '"past.0.1"')
        .replace('"rotary.0"', '"past.1.0"')
    )
    (plan,) = plan_pipeline_with(pipeline(tmp_path), read_inputs(written(tmp_path, text)))
    assert plan.call is not None
    assert ("past", "[[latents, scale], [cos]]") in plan.call.arguments


def test_fixed_arguments_may_be_lists_and_tables(tmp_path: Path) -> None:
    (given,) = read_inputs(written(tmp_path, GOOD + "shapes = [[[1, 4, 6]], []]\nsizes = {a = [0.5], b = {}}\n"))
    assert given.fixed == {
        "return_dict": False,
        "mode": "full",
        "shapes": [[[1, 4, 6]], []],
        "sizes": {"a": [0.5], "b": {}},
    }
    (plan,) = plan_pipeline_with(pipeline(tmp_path), (given,))
    assert plan.call is not None
    assert ("shapes", "[[[1, 4, 6]], []]") in plan.call.arguments
    assert ("sizes", "{'a': [0.5], 'b': {}}") in plan.call.arguments


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as TOML"):
        read_inputs(tmp_path / "absent.toml")


def pipeline(folder: Path, **parts: list[str]) -> Path:
    (folder / "vae").mkdir()
    write_json(folder / "vae" / "config.json", VAE)
    write_json(
        folder / "model_index.json",
        {"_class_name": "NewestPipeline", "vae": ["diffusers", "AutoencoderKL"], **parts},
    )
    return folder


def test_a_plan_of_it(tmp_path: Path) -> None:
    given = read_inputs(written(tmp_path, GOOD))
    (plan,) = plan_pipeline_with(pipeline(tmp_path), given)
    assert (plan.name, plan.model, plan.class_name) == ("latents_to_picture", "vae", "AutoencoderKL")
    assert (plan.library, plan.folder, plan.dtype) == ("diffusers", tmp_path / "vae", "bfloat16")
    assert plan.inputs == (
        TensorSpec("latents", (1, 4, 8, 12), "bfloat16"),
        TensorSpec("scale", (1,), "float32"),
        TensorSpec("cos", (), "int64"),
    )
    assert plan.call == Call(
        "decode",
        (
            ("z", "latents"),
            ("options", '{"scale": scale}'),
            ("rotary", "[cos]"),
            ("return_dict", "False"),
            ("mode", "'full'"),
        ),
        (("picture", "result"),),
    )


def plan_pipeline_with(folder: Path, given: tuple[GivenCall, ...]) -> tuple[ComponentPlan, ...]:
    return plan_all(folder, "bfloat16", ShapeOptions(), (), given).plans


def test_several_outputs_are_the_elements_of_the_result(tmp_path: Path) -> None:
    given = read_inputs(written(tmp_path, GOOD.replace('["picture"]', '["picture", "mask"]')))
    (plan,) = plan_pipeline_with(pipeline(tmp_path), given)
    assert plan.call is not None
    assert plan.call.outputs == (("picture", "result[0]"), ("mask", "result[1]"))


def test_outputs_may_be_elements_of_elements(tmp_path: Path) -> None:
    nested = '{low = "0.1", last = "0.-1", high = "1"}'
    given = read_inputs(written(tmp_path, GOOD.replace('["picture"]', nested)))
    (plan,) = plan_pipeline_with(pipeline(tmp_path), given)
    assert plan.call is not None
    assert plan.call.outputs == (("low", "result[0][1]"), ("last", "result[0][-1]"), ("high", "result[1]"))


def test_without_it_a_pipeline_that_is_not_known_is_taken_for_one_that_is(tmp_path: Path) -> None:
    decoder, encoder = plan_pipeline(pipeline(tmp_path), "float16", ShapeOptions())
    assert (decoder.name, encoder.name) == ("vae_decoder", "vae_encoder")
    message = (
        "pipeline class NewestPipeline is not known: it is taken to call vae as those of Stable Diffusion do; hold"
        " inputs, rows and types to what it hands over, or say them with --inputs"
    )
    assert decoder.warnings[0] == encoder.warnings[0] == message


def test_a_single_model_of_an_unknown_class(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "NewestTransformer"}))
    text = '[transformer.inputs.hidden_states]\nshape = [2, 16, 24]\n[transformer.inputs.t]\nshape=[2]\ndtype="int64"'
    (plan,) = plan_pipeline_with(tmp_path, read_inputs(written(tmp_path, text)))
    assert (plan.name, plan.class_name, plan.folder) == ("transformer", "NewestTransformer", tmp_path)
    assert plan.call == Call("", (("hidden_states", "hidden_states"), ("t", "t")), (("output", "result"),))


def test_a_part_that_is_not_there(tmp_path: Path) -> None:
    given = read_inputs(written(tmp_path, GOOD.replace('part = "vae"', 'part = "vea"')))
    with pytest.raises(UsageError, match="has no part 'vea' that inputs are given for; it has vae"):
        plan_pipeline_with(pipeline(tmp_path), given)


def test_a_part_of_another_library(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, other=["newlib", "NewModel"])
    given = read_inputs(written(tmp_path, "[other.inputs.x]\nshape=[1]"))
    with pytest.raises(TraceError, match="library newlib is not supported"):
        plan_pipeline_with(folder, given)


def test_a_component_of_another_part_may_not_be_called_so_too(tmp_path: Path) -> None:
    write_configs(tmp_path / "sd3", SMALL["sd3"])
    (given,) = read_inputs(written(tmp_path, GOOD.replace("[latents_to_picture", "[transformer")))
    with pytest.raises(UsageError, match=r"a component 'transformer' of vae, and transformer has one of that name"):
        plan_all(tmp_path / "sd3", "float16", SMALL["sd3"].shapes, (), (given,))


NESTED = """
[whole]
part = "vae"
method = "decode"
tuples = ["sizes", "options.pair"]
patches = ["masked_attention"]
outputs = {image = "0.sample"}
inputs.z = { shape = [1, 4, 8, 8] }
inputs.height = { shape = [], dtype = "int64", to = "sizes.0" }
inputs.left = { shape = [2], to = "options.pair.0" }
inputs.right = { shape = [2], to = "options.pair.1" }
inputs.deep = { shape = [3], to = "options.inner.all.0" }
fixed.options = { scale = 0.5, inner = { kind = "a" } }
fixed.return_dict = false
"""


def test_dictionaries_lists_and_tuples_in_each_other(tmp_path: Path) -> None:
    (plan,) = plan_pipeline_with(pipeline(tmp_path), read_inputs(written(tmp_path, NESTED)))
    assert plan.call is not None
    assert dict(plan.call.arguments) == {
        "z": "z",
        "sizes": "(height,)",
        "options": '{"scale": 0.5, "pair": (left, right,), "inner": {"kind": \'a\', "all": [deep]}}',
        "return_dict": "False",
    }
    assert plan.call.outputs == (("image", 'result[0]["sample"]'),)
    assert plan.patches == ("masked_attention",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"sizes", ', '"size", ', r"tuples has 'size', of which no input is an element \(as size\.0 is\)"),
        (
            "masked_attention",
            "masked_atention",
            "no tracing patch 'masked_atention'; did you mean 'masked_att",
        ),
        ("scale = 0.5", "pair = 0.5", r"fixed\.options\.pair and inputs\.left both go to the argument"),
    ],
)
def test_what_is_refused_of_them(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_inputs(written(tmp_path, NESTED.replace(old, new)))


def test_a_class_that_is_known_has_the_patches_it_needs(tmp_path: Path) -> None:
    write_configs(tmp_path / "qwen", SMALL["qwen_image"])
    given = read_inputs(written(tmp_path, "[transformer.inputs.hidden_states]\nshape = [1, 4, 16]"))
    (plan,) = plan_all(tmp_path / "qwen", "float16", SMALL["qwen_image"].shapes, ["transformer"], given).plans
    assert {"masked_attention", "stacked_rotary", "qwen_rotary"} <= set(plan.patches)


def test_a_class_keeps_its_own_arguments(tmp_path: Path) -> None:
    """The patch for the call of a pipeline takes two of them, and gives other results."""
    folder = pipeline(tmp_path, model=["transformers", "LlamaModel"])
    (folder / "model").mkdir(exist_ok=True)
    write_json(folder / "model" / "config.json", {"architectures": ["LlamaModel"], "model_type": "llama"})
    given = read_inputs(written(tmp_path, '[model.inputs.input_ids]\nshape = [1, 8]\ndtype = "int64"'))
    (plan,) = plan_all(folder, "float16", ShapeOptions(), ["model"], given).plans
    assert "text_decoder" not in plan.patches


def test_a_class_beside_a_pipeline_of_mindone(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, prior=["wuerstchen", "WuerstchenPrior"])
    (folder / "prior").mkdir()
    (folder / "prior" / "config.json").write_text('{"_class_name": "WuerstchenPrior"}')
    given = read_inputs(written(tmp_path, "[prior.inputs.x]\nshape=[1, 16, 4, 4]"))
    (plan,) = plan_all(folder, "float16", ShapeOptions(), ["prior"], given).plans
    assert (plan.library, plan.package) == ("diffusers", "diffusers.pipelines.wuerstchen")
