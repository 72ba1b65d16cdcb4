"""Run in a subprocess: what mindone's own `load_lora_weights` and `fuse_lora` make of weights, and where they lie.

`python -m tests.support.fused_loras OUT FOLDER LORA SCALE [FOLDER LORA SCALE ...]` writes, for each pipeline, into
OUT/NUMBER the parameters of every model after fusing and unloading (`MODEL.npz`, float32), and as JSON the
StoredWeights of attnfuse.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import mindspore
import numpy as np

from attnfuse.serialisation import to_json
from attnfuse.tracing.build import build_skeleton
from attnfuse.tracing.checkpoint import find_files, read_tensors
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.patches import cpu_patches
from attnfuse.tracing.plan import plan_pipeline
from attnfuse.tracing.weights import find_sources


def _pointwise(pictures: Any, weight: Any) -> Any:
    """A convolution of one pixel, for which MindSpore has no kernel on a CPU: what a LoRA of a convolution comes to."""
    made = np.einsum("nrhw,or->nohw", pictures.asnumpy(), weight.asnumpy()[:, :, 0, 0])
    return mindspore.Tensor(np.ascontiguousarray(made, np.float32))


def fuse(folder: Path, lora: Path, scale: float, out: Path) -> None:
    """Do it for one pipeline."""
    from mindone import diffusers

    out.mkdir()
    plans = {plan.model: plan for plan in plan_pipeline(folder, "float32", ShapeOptions())}
    answer: dict[str, Any] = {}
    for name, plan in plans.items():
        tensors = read_tensors(find_files(plan.folder, plan.library))
        sources = find_sources(plan, build_skeleton(plan), tensors, out)
        answer[name] = [to_json(source) for source in sources.values()]
    (out / "sources.json").write_text(json.dumps(answer))
    index = json.loads((folder / "model_index.json").read_text())
    wanted = inspect.signature(getattr(diffusers, index["_class_name"]).__init__).parameters
    absent: dict[str, Any] = {name: None for name, one in wanted.items() if one.default is one.empty} | {
        name: None for name in ("image_encoder", "feature_extractor", "safety_checker") if name in wanted
    }
    absent = {name: None for name in absent if name not in (*index, "self")}
    with cpu_patches():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            str(folder), mindspore_dtype=mindspore.float32, use_safetensors=True, **absent
        )
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
        adapted = [name for name in plans if hasattr(getattr(pipeline, name), "peft_config")]
        for name in adapted:
            for _, cell in getattr(pipeline, name).cells_and_names():
                if hasattr(cell, "conv_fn"):
                    cell.conv_fn = _pointwise
        pipeline.fuse_lora(lora_scale=scale, components=adapted)
        pipeline.unload_lora_weights()
    for name in plans:
        values = {
            key.replace(".base_layer.", "."): parameter.asnumpy()
            for key, parameter in getattr(pipeline, name).parameters_and_names()
        }
        np.savez(out / f"{name}.npz", **values)


def main(out: Path, arguments: list[str]) -> None:
    """Fuse each."""
    mindspore.set_device("CPU")
    for number, at in enumerate(range(0, len(arguments), 3)):
        folder, lora, scale = arguments[at : at + 3]
        fuse(Path(folder), Path(lora), float(scale), out / str(number))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
