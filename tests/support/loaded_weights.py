"""Run in a subprocess: where attnfuse would stream each parameter from, beside what mindone itself loads.

`python -m tests.support.loaded_weights FOLDER OUT DTYPE...` writes to OUT, as JSON by type and model, the
WeightSources and the SHA-256 of every parameter's bytes after `DiffusionPipeline.from_pretrained(FOLDER,
mindspore_dtype=DTYPE)` (or `from_pretrained` of the one model where FOLDER is no pipeline).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import mindspore

from attnfuse.serialisation import to_json
from attnfuse.tracing.build import build_skeleton
from attnfuse.tracing.checkpoint import find_files, read_tensors
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.patches import cpu_patches
from attnfuse.tracing.plan import plan_pipeline
from attnfuse.tracing.weights import find_sources


def _load(folder: Path, plans: tuple[ComponentPlan, ...], dtype: str) -> dict[str, Any]:
    options = {"mindspore_dtype": getattr(mindspore, dtype), "use_safetensors": True}
    if (folder / "model_index.json").exists():
        from mindone.diffusers import DiffusionPipeline

        pipeline = DiffusionPipeline.from_pretrained(str(folder), **options)
        return {plan.model: getattr(pipeline, plan.model) for plan in plans}
    from mindone import diffusers, transformers

    library = diffusers if plans[0].library == "diffusers" else transformers
    return {plans[0].model: getattr(library, plans[0].class_name).from_pretrained(str(folder), **options)}


def _compare(folder: Path, dtype: str, work: Path) -> dict[str, Any]:
    # By model: a VAE is one model, though two components.
    plans = {plan.model: plan for plan in plan_pipeline(folder, dtype, ShapeOptions())}
    with cpu_patches():
        models = _load(folder, tuple(plans.values()), dtype)
    answer: dict[str, Any] = {}
    for name, plan in plans.items():
        tensors = read_tensors(find_files(plan.folder, plan.library))
        sources = find_sources(plan, build_skeleton(plan), tensors, work)
        answer[name] = {
            "sources": [to_json(source) for source in sources.values()],
            "loaded": {
                parameter.name: hashlib.sha256(parameter.data.get_bytes()).hexdigest()
                for parameter in models[name].get_parameters()
            },
        }
    return answer


def main(folder: Path, out: Path, dtypes: list[str]) -> None:
    """Write the comparison of every model in `folder`, in each of `dtypes`."""
    mindspore.set_device("CPU")
    out.write_text(json.dumps({dtype: _compare(folder, dtype, out.parent) for dtype in dtypes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
