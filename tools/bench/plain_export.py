"""What a user does without attnfuse: load a model through mindone, write a cell around it, `mindspore.export` that.

    python -m tools.bench.plain_export PIPELINE COMPONENT OUT DTYPE

Which model, inputs and call is read from attnfuse's plan, so that both export the same; loading and exporting are
mindone's and MindSpore's own, but for patches of operators that no CPU has. Imports MindSpore: runs in a process of
its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import nn

from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.patches import cpu_patches, tracing_patches
from attnfuse.tracing.plan import plan_all


def _cell(plan: ComponentPlan, model: Any, folder: Path) -> Any:
    """The cell that makes the plan's call, from a source file: MindSpore reads it to trace it."""
    call = plan.call
    assert call is not None
    arguments = ", ".join(f"{keyword}={expression}" for keyword, expression in call.arguments)
    source = (
        "class Exported(nn.Cell):\n"
        "    def __init__(self, model):\n"
        "        super().__init__(auto_prefix=False)\n"
        f"        self.{plan.model} = model\n"
        "        self.set_train(False)\n"
        f"    def construct(self, {', '.join(spec.name for spec in plan.inputs)}):\n"
        f"        result = self.{plan.model}{'.' * bool(call.method)}{call.method}({arguments})\n"
        f"        return {', '.join(expression for _, expression in call.outputs)}\n"
    )
    file = folder / "exported.py"
    file.write_text(source, encoding="utf-8")
    names: dict[str, Any] = {"__name__": __name__, "nn": nn}
    exec(compile(source, str(file), "exec"), names)
    return names["Exported"](model)


def _load(plan: ComponentPlan) -> Any:
    if plan.library == "diffusers":
        from mindone import diffusers as library
    else:
        from mindone import transformers as library
    dtype = getattr(mindspore, plan.dtype)
    with cpu_patches():
        return getattr(library, plan.class_name).from_pretrained(
            str(plan.folder), mindspore_dtype=dtype, use_safetensors=True, local_files_only=True
        )


def main(arguments: list[str]) -> int:
    """Load, export."""
    pipeline, component, out, dtype = arguments
    (plan,) = plan_all(Path(pipeline), dtype, ShapeOptions(), [component]).plans
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    model = _load(plan)
    inputs = [
        mindspore.Tensor(np.zeros(spec.shape, np.float32), dtype=getattr(mindspore, spec.dtype)) for spec in plan.inputs
    ]
    with tempfile.TemporaryDirectory() as folder, tracing_patches(plan.patches):
        cell = _cell(plan, model, Path(folder))
        mindspore.export(cell, *inputs, file_name=str(Path(out) / component), file_format="MINDIR")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
