"""The records that cross the border between the engine and the tracing worker, and their JSON form.

Imports nothing but the standard library and `attnfuse.errors`: both sides of the process border read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

#: Element types a parameter, an input or an output may have, under the names numpy and ml_dtypes use.
DTYPES = ("float16", "bfloat16", "float32", "int64", "int32", "bool")

#: The types a component can be traced in.
FLOAT_DTYPES = ("float16", "bfloat16", "float32")

#: Components of a Stable Diffusion 1.x, 2.x or XL pipeline, in the order in which they are planned.
COMPONENTS = ("unet", "vae_decoder", "vae_encoder", "text_encoder", "text_encoder_2")

Library = Literal["diffusers", "transformers"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph: its name, its dimensions and one of `DTYPES`."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorSpec:
        """Read what `to_json` wrote; KeyError where a field is missing."""
        return cls(data["name"], tuple(data["shape"]), data["dtype"])


@dataclass(frozen=True, slots=True)
class ShapeOptions:
    """What the user asked of the input shapes; None leaves the configuration's own.

    `batch` counts images (a UNet gets twice as many rows, for classifier-free guidance), `height` and `width`
    are pixels of the image, `sequence_length` is the number of text tokens.
    """

    batch: int | None = None
    height: int | None = None
    width: int | None = None
    sequence_length: int | None = None


@dataclass(frozen=True, slots=True)
class ComponentPlan:
    """One graph to be traced.

    `name` is one of `COMPONENTS`; `model` the attribute of the pipeline that owns it ("unet", "vae", …);
    `folder` the folder with the model's config.json and weights; `entry` the method that is traced (one of
    those in `build.py`); `dtype` what the model's float parameters are held in; `inputs` the graph's inputs in
    order. `dtype` is the pipeline's, save where mindone itself runs the model in another (see `plan.py`).
    """

    name: str
    model: str
    class_name: str
    library: Library
    folder: Path
    entry: str
    dtype: str
    inputs: tuple[TensorSpec, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "model": self.model,
            "class_name": self.class_name,
            "library": self.library,
            "folder": str(self.folder),
            "entry": self.entry,
            "dtype": self.dtype,
            "inputs": [spec.to_json() for spec in self.inputs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ComponentPlan:
        """Read what `to_json` wrote; KeyError where a field is missing."""
        return cls(
            name=data["name"],
            model=data["model"],
            class_name=data["class_name"],
            library=data["library"],
            folder=Path(data["folder"]),
            entry=data["entry"],
            dtype=data["dtype"],
            inputs=tuple(TensorSpec.from_json(spec) for spec in data["inputs"]),
        )


@dataclass(frozen=True, slots=True)
class WeightSource:
    """Where the value of one graph parameter lies.

    Tensor `key` of the safetensors file `file` holds it, in this `shape` and with its elements in the order the
    graph wants. `dtype` is the graph parameter's: the tensor in the file may have another float type, and to convert
    that (to nearest, ties to even) is all a reader does.
    """

    parameter: str
    file: Path
    key: str
    dtype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "parameter": self.parameter,
            "file": str(self.file),
            "key": self.key,
            "dtype": self.dtype,
            "shape": list(self.shape),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WeightSource:
        """Read what `to_json` wrote; KeyError where a field is missing."""
        return cls(data["parameter"], Path(data["file"]), data["key"], data["dtype"], tuple(data["shape"]))


@dataclass(frozen=True, slots=True)
class TracedComponent:
    """What one trace left behind.

    `graph` is a MindIR file whose parameters have dims and data_type but no values; `weights` names the source
    of every one of them, in the graph's order; `versions` holds the versions of mindspore, mindone and
    transformers; `seconds` and `peak_rss_bytes` are the worker's wall time and peak memory.
    """

    plan: ComponentPlan
    graph: Path
    weights: tuple[WeightSource, ...]
    outputs: tuple[TensorSpec, ...]
    versions: dict[str, str]
    seconds: float
    peak_rss_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "plan": self.plan.to_json(),
            "graph": str(self.graph),
            "weights": [source.to_json() for source in self.weights],
            "outputs": [spec.to_json() for spec in self.outputs],
            "versions": self.versions,
            "seconds": self.seconds,
            "peak_rss_bytes": self.peak_rss_bytes,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TracedComponent:
        """Read what `to_json` wrote; KeyError where a field is missing."""
        return cls(
            plan=ComponentPlan.from_json(data["plan"]),
            graph=Path(data["graph"]),
            weights=tuple(WeightSource.from_json(source) for source in data["weights"]),
            outputs=tuple(TensorSpec.from_json(spec) for spec in data["outputs"]),
            versions=dict(data["versions"]),
            seconds=data["seconds"],
            peak_rss_bytes=data["peak_rss_bytes"],
        )
