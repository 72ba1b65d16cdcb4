"""What is planned for a live pipeline: its options count, and the types its models are held in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from attnfuse.errors import TraceError
from attnfuse.live.plans import plan_live, write_others
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import UNET
from tests.support.small_models.pictures import HUNYUAN_DIT
from tests.support.small_models.videos import WAN


class _Parameter:
    def __init__(self, dtype: str) -> None:
        self.dtype, self.size = dtype, 8


class _Model:
    """As much of a diffusers model as a plan looks at."""

    def __init__(self, config: dict[str, Any], dtype: str) -> None:
        self.config, self.dtype = config, dtype

    def to_json_string(self) -> str:
        return json.dumps(self.config)

    def get_parameters(self) -> list[_Parameter]:
        return [_Parameter(self.dtype)]

    def construct(self) -> None: ...

    def cells_and_names(self) -> list[Any]:
        return []


class WanTransformer3DModel(_Model):
    pass


class HunyuanDiT2DModel(_Model):
    pass


class UNet2DConditionModel(_Model):
    pass


class WanPipeline:
    def __init__(self, **options: Any) -> None:
        self.components = {"transformer": WanTransformer3DModel(WAN, "Float32")}
        self.config = {"_class_name": "Other", "scheduler": ("diffusers", "UniPCMultistepScheduler"), **options}


class HunyuanDiTPipeline:
    def __init__(self) -> None:
        self.components = {"transformer": HunyuanDiT2DModel(HUNYUAN_DIT, "Float16")}


def test_options_of_the_pipeline_count(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    timesteps = []
    for folder, expanded in (("a", False), ("b", True)):
        pipeline = WanPipeline(expand_timesteps=expanded)
        (plan,) = plan_live(pipeline, tmp_path / folder, ShapeOptions(), (), None).plans
        assert plan.class_name == "WanTransformer3DModel"
        timesteps += [spec.name for spec in plan.inputs if "timestep" in spec.name]
    assert timesteps == ["timestep", "patch_timesteps"]  # one for a row, or one for each patch of it


def test_what_is_float32_in_any_case_stays_so(tmp_path: Path) -> None:
    (plan,) = plan_live(HunyuanDiTPipeline(), tmp_path, ShapeOptions(), (), None).plans
    types = {spec.name: spec.dtype for spec in plan.inputs}
    assert plan.dtype == "float16"
    assert (types["hidden_states"], types["rotary_cos"], types["style"]) == ("float16", "float32", "int64")


class _Lora:
    """A layer of PEFT's, as far as it tells of itself."""

    def __init__(self, *, merged: tuple[str, ...] = (), disabled: bool = False, **scaling: float) -> None:
        self.lora_A, self.scaling = object(), scaling
        self.merged_adapters, self.disable_adapters = list(merged), disabled
        self.active_adapters = list(scaling)[:1]


@pytest.mark.parametrize(
    ("layers", "value", "meaning", "warns"),
    [
        ((), None, "has no LoRA", False),
        ((_Lora(style=0.5, other=1.0), _Lora(style=0.5)), [["style", 0.5]], "is loaded: the graph has", True),
        ((_Lora(style=0.5, merged=("style",)),), [["style", 0.5]], "is fused into the weights", False),
        ((_Lora(style=0.5, disabled=True),), None, "has no LoRA", False),
    ],
)
def test_what_is_told_of_loras(
    tmp_path: Path, layers: tuple[_Lora, ...], value: Any, meaning: str, *, warns: bool
) -> None:
    class WithLora(WanTransformer3DModel):
        def cells_and_names(self) -> list[Any]:
            return [*((f"blocks.{i}.to_q", layer) for i, layer in enumerate(layers)), ("norm", object())]

    pipe = WanPipeline()
    pipe.components = {"transformer": WithLora(WAN, "Float32")}
    pipe.components["transformer"].__class__.__name__ = "WanTransformer3DModel"
    plan = plan_live(pipe, tmp_path, ShapeOptions(), (), None)
    (lora,) = (one for one in plan.plans[0].fixed if one.name == "lora_scale")
    assert lora.value == value
    assert meaning in lora.meaning
    assert any("LoRA style is loaded and not fused" in text for text in plan.warnings["transformer"]) == warns


class MySampler:
    """A part that is no model, of a class that nobody knows."""


def test_a_part_that_is_no_model_is_nothing_to_compile(tmp_path: Path) -> None:
    pipe = WanPipeline()
    pipe.components["scheduler"] = MySampler()  # type: ignore[assignment]
    assert [plan.name for plan in plan_live(pipe, tmp_path, ShapeOptions(), (), None).plans] == ["transformer"]


def test_a_model_that_was_loaded_from_codes_is_refused(tmp_path: Path) -> None:
    pipe = WanPipeline()
    config = {**WAN, "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    pipe.components["transformer"] = WanTransformer3DModel(config, "Float32")
    with pytest.raises(TraceError, match=r"component transformer: its checkpoint is quantised \(bitsandbytes, 8 bit\)"):
        plan_live(pipe, tmp_path, ShapeOptions(), (), None)


def test_what_is_assumed_of_a_live_pipeline_is_told(tmp_path: Path) -> None:
    class StableDiffusionPipeline:
        components: ClassVar[dict[str, Any]] = {"unet": UNet2DConditionModel(UNET, "Float16"), "scheduler": MySampler()}

    (said,) = plan_live(StableDiffusionPipeline(), tmp_path, ShapeOptions(), (), None).warnings["unet"]
    assert "scheduler class MySampler is not known" in said


class Scheduler:
    timesteps = (1, 2)

    def to_json_string(self) -> str:
        return json.dumps({"_class_name": "Scheduler", "_name_or_path": "/home/somebody", "beta_end": 0.02})


class Tokenizer:
    model_max_length = 77

    def save_pretrained(self, folder: Path) -> None:
        (folder / "vocab.json").write_text("{}")


class Processor:
    def to_json_string(self) -> str:
        return "no JSON"


def test_parts_that_are_no_models_are_written(tmp_path: Path) -> None:
    pipe = WanPipeline()
    parts: dict[str, Any] = {"scheduler": Scheduler(), "tokenizer": Tokenizer(), "feature_extractor": Processor()}
    pipe.components |= parts
    failed = write_others(plan_live(pipe, tmp_path, ShapeOptions(), (), None), tmp_path)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")}
    assert written - {"model_index.json", "transformer/config.json", "tokenizer/tokenizer_config.json"} == {
        "scheduler/scheduler_config.json",
        "tokenizer/vocab.json",
    }
    content = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    assert content == {"_class_name": "Scheduler", "beta_end": 0.02}
    (told,) = failed
    assert told.startswith("feature_extractor is not in the output: its Processor cannot be saved: Expecting value")
