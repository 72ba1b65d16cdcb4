"""Run in a subprocess: a model whose weights cannot all be streamed as they lie, through `find_sources` and mindone.

`python -m tests.support.odd_model FOLDER` writes a checkpoint, sources and digests (as `loaded_weights` does) there.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import numpy.typing as npt
from mindone.diffusers.configuration_utils import ConfigMixin, register_to_config
from mindone.diffusers.models.modeling_utils import ModelMixin
from mindspore import nn
from mindspore.common.initializer import initializer
from mindspore.nn.utils import no_init_parameters
from safetensors.numpy import save_file

from attnfuse.tracing.checkpoint import find_files, read_tensors
from attnfuse.tracing.contract import ComponentPlan
from attnfuse.tracing.weights import find_sources


class _Twin(nn.Cell):  # type: ignore[misc]
    def __init__(self, shared: mindspore.Parameter) -> None:
        super().__init__()
        self.twin = shared


class OddModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A convolution that mindone reshapes, a norm that it renames, a float64 weight and a tied one."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 5, has_bias=True)
        self.norm = nn.LayerNorm([4])
        self.steps = mindspore.Parameter(initializer("zeros", (6,), mindspore.float32))
        self.tied = mindspore.Parameter(initializer("zeros", (2, 2), mindspore.float32), name="tied")
        self.other = _Twin(self.tied)


def main(folder: Path) -> None:
    """Write everything into `folder`."""
    random = np.random.default_rng(5)
    tensors: dict[str, npt.NDArray[Any]] = {
        "conv.weight": random.normal(size=(4, 3, 5)).astype(np.float32),
        "conv.bias": random.normal(size=4).astype(np.float16),
        "norm.weight": random.normal(size=4).astype(np.float32),
        "norm.bias": random.normal(size=4).astype(np.float32),
        "steps": random.normal(size=6),
        "tied": random.normal(size=(2, 2)).astype(np.float32),
    }
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"_class_name": "OddModel"}))
    mindspore.set_device("CPU")
    plan = ComponentPlan("unet", "unet", "OddModel", "diffusers", folder, None, "float16", ())
    with no_init_parameters():
        skeleton = OddModel().to(mindspore.float16)
    work = folder / "work"
    work.mkdir()
    sources = find_sources(plan, skeleton, read_tensors(find_files(folder, plan.library)), work)
    loaded = OddModel.from_pretrained(str(folder), mindspore_dtype=mindspore.float16, use_safetensors=True)
    answer = {
        "sources": {name: source.to_json() for name, source in sources.items()},
        "loaded": {
            parameter.name: hashlib.sha256(parameter.data.get_bytes()).hexdigest()
            for parameter in loaded.get_parameters()
            if parameter.name != "other.twin"  # mindone 0.5.0 does not find a tied weight under its other name
        },
    }
    (folder / "out.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
