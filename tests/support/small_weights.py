"""Run in a subprocess: writes random weights beside configurations, under the names PyTorch's libraries give them.

`python -m tests.support.small_weights FOLDER...` does so for pipelines that `small_models.write_configs` wrote. Which
tensors a class has is read off the class itself, built without values, and which name each has in a checkpoint off
mindone's own mapping, backwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mindspore
from mindspore import nn

from attnfuse.tracing.build import build_skeleton
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.plan import plan_all
from attnfuse.tracing.random_weights import write_random


def _tensors(plan: ComponentPlan, model: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor a checkpoint of `model` holds."""
    if plan.library == "diffusers":
        from mindone.diffusers.models.modeling_utils import _get_pt2ms_mappings
    else:
        from mindone.transformers.modeling_utils import _get_pt2ms_mappings
    stored = {name: original for original, (name, _) in _get_pt2ms_mappings(model).items() if name is not None}
    flat = {
        f"{name}.weight" for name, cell in model.cells_and_names() if isinstance(cell, nn.Conv1d | nn.Conv1dTranspose)
    }
    # Of a convolution whose weight is normed there are its direction and its lengths, the weight is not.
    normed = {name for name in flat if name.endswith(".weight_norm_cell.weight")}
    flat |= {name.replace("_norm_cell.weight", f"_{part}") for name in normed for part in "gv"}
    for parameter in model.get_parameters():
        if parameter.name in normed:
            continue
        shape = tuple(parameter.shape)
        # MindSpore's one-dimensional convolutions are two-dimensional ones of height 1.
        yield (
            stored.get(parameter.name, parameter.name),
            (*shape[:2], shape[3]) if parameter.name in flat else shape,
        )


def write_model_weights(plan: ComponentPlan) -> None:
    """Write the weights of a plan's model beside its configuration, in float32."""
    stem = "diffusion_pytorch_model" if plan.library == "diffusers" else "model"
    path = plan.folder / f"{stem}.safetensors"
    write_random(path, _tensors(plan, build_skeleton(plan)), "float32", plan.class_name)


def write_weights(folder: Path) -> None:
    """Write the weights of every model of the pipeline, in float32."""
    plans = {plan.model: plan for plan in reversed(plan_all(folder, "float32", ShapeOptions()).plans)}
    for plan in reversed(plans.values()):
        write_model_weights(plan)


if __name__ == "__main__":
    mindspore.set_device("CPU")
    for argument in sys.argv[1:]:
        write_weights(Path(argument))
