"""Run in a subprocess: a model whose weights cannot all be streamed as they lie, through `find_sources` and mindone.

`python -m tests.support.odd_model FOLDER` writes a checkpoint, sources and digests (as `loaded_weights` does) there,
and what is said where one tensor is of another type.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
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

from attnfuse.errors import TraceError
from attnfuse.serialisation import to_json
from attnfuse.tracing.checkpoint import find_files, read_tensors
from attnfuse.tracing.contract import ComponentPlan, StoredWeight
from attnfuse.tracing.weights import find_sources
from tests.support.odd_weights import FLOAT8, OTHERS
from tests.support.stored import write_stored


class _Twin(nn.Cell):  # type: ignore[misc]
    def __init__(self, shared: mindspore.Parameter) -> None:
        super().__init__()
        self.twin = shared


class OddModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A convolution that mindone reshapes, a norm that it renames, a float64 weight, a tied one, one in two places."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 5, has_bias=True)
        self.norm = nn.LayerNorm([4])
        self.steps = mindspore.Parameter(initializer("zeros", (6,), mindspore.float32))
        self.count = mindspore.Parameter(initializer("zeros", (2,), mindspore.int32))
        self.tied = mindspore.Parameter(initializer("zeros", (2, 2), mindspore.float32), name="tied")
        self.other = _Twin(self.tied)
        self.one = _Twin(mindspore.Parameter(initializer("zeros", (3,), mindspore.float32)))
        self.two = self.one


def _sources(folder: Path, plan: ComponentPlan, skeleton: Any, name: str) -> dict[str, StoredWeight]:
    """The sources of weights in a file of that name, which goes to a folder of its own."""
    place = folder / name
    work = place / "work"
    work.mkdir()
    return dict(
        find_sources(replace(plan, folder=place), skeleton, read_tensors(find_files(place, plan.library)), work)
    )


def _refusals(folder: Path, plan: ComponentPlan, skeleton: Any, tensors: dict[str, npt.NDArray[Any]]) -> dict[str, str]:
    """What is said where one tensor is of that type: by key and type."""
    said = {}
    for key, kind in OTHERS:
        name = f"{key}-{np.dtype(kind).name}"
        (folder / name).mkdir()
        changed = {**tensors, key: tensors[key].astype(kind)}
        save_file(changed, folder / name / "diffusion_pytorch_model.safetensors", {"format": "pt"})
        try:
            _sources(folder, plan, skeleton, name)
        except TraceError as error:
            said[name] = str(error)
    return said


def _factor_refused(folder: Path, plan: ComponentPlan, skeleton: Any, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What is said where a tensor that nothing reads lies beside floats of eight bits."""
    (folder / "factor").mkdir()
    kinds = {key: ("F8_E4M3" if key in FLOAT8 else "F32", shape) for key, shape in shapes.items()}
    kinds |= {"count": ("I32", (2,)), "strength": ("F32", (4, 1))}
    write_stored(folder / "factor" / "diffusion_pytorch_model.safetensors", kinds)
    try:
        _sources(folder, plan, skeleton, "factor")
    except TraceError as error:
        return str(error)
    return ""


def _with_float8(folder: Path, plan: ComponentPlan, skeleton: Any, tensors: dict[str, npt.NDArray[Any]]) -> Any:
    """Sources where a weight that mindone computes with and one that it does not are floats of eight bits."""
    (folder / "float8").mkdir()
    kinds = {key: ("F8_E4M3" if key in FLOAT8 else "F32", value.shape) for key, value in tensors.items()}
    kinds["count"] = ("I32", (2,))
    data = {key: np.arange(tensors[key].size, dtype=np.uint8).tobytes() for key in FLOAT8}
    write_stored(folder / "float8" / "diffusion_pytorch_model.safetensors", kinds, data)
    return {name: to_json(source) for name, source in _sources(folder, plan, skeleton, "float8").items()}


def main(folder: Path) -> None:
    """Write everything into `folder`."""
    random = np.random.default_rng(5)
    tensors: dict[str, npt.NDArray[Any]] = {
        "conv.weight": random.normal(size=(4, 3, 5)).astype(np.float32),
        "conv.bias": random.normal(size=4).astype(np.float16),
        "norm.weight": random.normal(size=4).astype(np.float32),
        "norm.bias": random.normal(size=4).astype(np.float32),
        "steps": random.normal(size=6),
        "count": np.array([3, 4], np.int64),
        "tied": random.normal(size=(2, 2)).astype(np.float32),
        "one.twin": random.normal(size=3).astype(np.float32),
    }
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"_class_name": "OddModel"}))
    mindspore.set_device("CPU")
    plan = ComponentPlan(
        "unet",
        "unet",
        "OddModel",
        "diffusers",
        folder,
        None,
        "float16",
        (),
        patches=(),
        package="",
        variant="",
        checkpoint=None,
        processors=(),
        ip_adapter=None,
        fixed=(),
    )
    with no_init_parameters():
        skeleton = OddModel().to(mindspore.float16)
    skeleton.count.set_dtype(mindspore.int32)  # which that took for a float, as it does up to MindSpore 2.10
    work = folder / "work"
    work.mkdir()
    sources = find_sources(plan, skeleton, read_tensors(find_files(folder, plan.library)), work)
    loaded = OddModel.from_pretrained(str(folder), mindspore_dtype=mindspore.float16, use_safetensors=True)
    answer: dict[str, Any] = {
        "refused": _refusals(folder, plan, skeleton, tensors),
        "factor": _factor_refused(folder, plan, skeleton, {key: value.shape for key, value in tensors.items()}),
        "float8": _with_float8(folder, plan, skeleton, tensors),
        "sources": {name: to_json(source) for name, source in sources.items()},
        "loaded": {
            parameter.name: hashlib.sha256(parameter.data.get_bytes()).hexdigest()
            for parameter in loaded.get_parameters()
            # mindone 0.5.0 does not find a tied weight under its other name
            if parameter.name not in ("other.twin", "two.twin", "count")
        },
    }
    (folder / "out.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
