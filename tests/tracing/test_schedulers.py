"""The type of timesteps, by the scheduler's class; and what is told where that is not known."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from attnfuse.errors import UsageError
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.demo import UNET, write_json
from attnfuse.tracing.plan import plan_all
from attnfuse.tracing.schedulers import assumption, timestep_dtype
from tests.support.checkpoints import write_model
from tests.support.small_models import SMALL, write_configs


def test_every_scheduler_of_mindone_is_known() -> None:
    spec = importlib.util.find_spec("mindone")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations))) / "diffusers" / "schedulers"
    found = {
        name
        for path in folder.glob("scheduling_*.py")
        for name in re.findall(r"^class (\w+Scheduler)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(found) > 30
    assert [name for name in found if assumption(name)] == []


@pytest.mark.parametrize(
    ("scheduler", "dtype"),
    [
        ("PNDMScheduler", "int64"),
        ("EulerDiscreteScheduler", "float32"),
        ("FlowMatchLCMScheduler", "float32"),
        ("EDMEulerScheduler", "float32"),
        ("MySampler", "int64"),
        (None, "int64"),
    ],
)
def test_the_type(scheduler: str | None, dtype: str) -> None:
    assert timestep_dtype(scheduler) == dtype


def warnings(folder: Path, scheduler: list[str] | None) -> dict[str, tuple[str, ...]]:
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    write_json(folder / "model_index.json", {**index, **({"scheduler": scheduler} if scheduler else {})})
    return {plan.name: plan.warnings for plan in plan_all(folder, "float16", ShapeOptions()).plans}


def _unet(folder: Path) -> ComponentPlan:
    (plan,) = plan_all(folder, "float16", ShapeOptions()).plans
    return plan


def test_an_assumption_is_told(tmp_path: Path) -> None:
    write_model(tmp_path / "unet", {**UNET, "block_out_channels": [32] * 4, "layers_per_block": 1}, "float16")
    (tmp_path / "scheduler").mkdir()
    write_json(tmp_path / "scheduler" / "scheduler_config.json", {})
    assert warnings(tmp_path, ["diffusers", "DDIMScheduler"]) == {"unet": ()}
    (said,) = warnings(tmp_path, ["diffusers", "SomethingNewScheduler"])["unet"]
    assert said.startswith("timestep is taken to be int64, which is assumed: scheduler class SomethingNewScheduler is")
    assert said.endswith("say so with --timestep-dtype float32")
    (fixed,) = [one for one in _unet(tmp_path).fixed if one.name == "timestep_dtype"]
    assert fixed.meaning.startswith("assumed: scheduler class SomethingNewScheduler is not known; ")
    (said,) = warnings(tmp_path, None)["unet"]
    assert "there is no scheduler beside it" in said


def test_the_type_that_is_asked_for(tmp_path: Path) -> None:
    write_model(tmp_path / "unet", {**UNET, "block_out_channels": [32] * 4, "layers_per_block": 1}, "float16")
    assert warnings(tmp_path, None)["unet"]
    (plan,) = plan_all(tmp_path, "float16", ShapeOptions(timestep_dtype="float32")).plans
    assert {one.name: one.dtype for one in plan.inputs}["timestep"] == "float32"
    assert plan.warnings == ()
    (fixed,) = [one for one in plan.fixed if one.name == "timestep_dtype"]
    assert fixed.meaning.startswith("asked for; ")


def test_a_type_that_nothing_takes(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "p", SMALL["sd3"])
    with pytest.raises(UsageError, match=r"^--timestep-dtype int64 is for components that take .*, and none does here"):
        plan_all(folder, "float16", ShapeOptions(timestep_dtype="int64"))
