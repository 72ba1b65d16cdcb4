"""The records that cross the border between the engine and the tracing worker, and their JSON form.

Imports nothing but the standard library and `attnfuse.errors`: both sides of the process border read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

#: Element types a parameter, an input or an output may have, under the names numpy and ml_dtypes use.
DTYPES = ("float16", "bfloat16", "float32", "int64", "int32", "bool")

#: The types a component can be traced in.
FLOAT_DTYPES = ("float16", "bfloat16", "float32")

AUTO = "auto"
"""For a float type: that of each component's checkpoint, see `stored_types`."""

DYNAMIC_BATCHES = (13, 19, 23)
"""The batches, in images, that a component for any batch is traced at: see `attnfuse.dynamic`.

Three, because two points always lie on a line. Of none is a small multiple a likely number of a model, or that of a
type (42 is float16): a graph holds equal constants once, so that it would have fewer at one batch than at another. Not
larger, because a target has a limit for the rows of an attention, and some models fold frames or pixels into them.
"""

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


def open_spec(specs: Sequence[TensorSpec]) -> TensorSpec:
    """What is said at several batches, said once: -1 for a dimension that differs."""
    sizes = zip(*(spec.shape for spec in specs), strict=True)
    return replace(specs[0], shape=tuple(one[0] if len(set(one)) == 1 else -1 for one in sizes))


@dataclass(frozen=True, slots=True)
class ShapeOptions:
    """What the user asked of the input shapes; None leaves the configuration's own.

    `batch` counts images or videos, `height` and `width` are pixels, `sequence_length` is the number of text tokens,
    `frames` those of a video, `guidance` whether a batch is doubled for classifier-free guidance (None: as the
    pipeline does by default). `dynamic` names what is left open: "batch".
    """

    batch: int | None = None
    height: int | None = None
    width: int | None = None
    sequence_length: int | None = None
    frames: int | None = None
    guidance: bool | None = None
    dynamic: Literal["batch"] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What is called to trace a graph: `result = self.<attribute>.<method>(<keyword>=<expression>, …)`.

    The expressions are Python over the names of the plan's inputs; `method` is empty where the model itself is
    called. `outputs` are the graph's, each a name and an expression over `result`.
    """

    method: str
    arguments: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "method": self.method,
            "arguments": [list(argument) for argument in self.arguments],
            "outputs": [list(output) for output in self.outputs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Call:
        """Read what `to_json` wrote; KeyError where a field is missing."""
        return cls(
            data["method"],
            tuple((keyword, expression) for keyword, expression in data["arguments"]),
            tuple((name, expression) for name, expression in data["outputs"]),
        )


@dataclass(frozen=True, slots=True)
class FixedValue:
    """Something a pipeline may set at run time, and a graph has once and for all.

    `name` is the pipeline's or the call's, `value` what it is in the graph, as a JSON value (None: there is no such
    thing in the graph), `meaning` says what that comes to and what to do for another.
    """

    name: str
    value: Any
    meaning: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"name": self.name, "value": self.value, "meaning": self.meaning}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FixedValue:
        """Read what `to_json` wrote; KeyError where a field is missing."""
        return cls(data["name"], data["value"], data["meaning"])


@dataclass(frozen=True, slots=True)
class ComponentPlan:
    """One graph to be traced.

    `name` is the component's ("unet", "vae_decoder"); `model` the attribute of the pipeline that owns it ("unet",
    "vae", …); `folder` the folder with the model's config.json and weights; `call` what is traced (None for the
    positional call of a live cell); `dtype` what the model's float parameters are held in (but for those that mindone
    keeps in float32, see `build.py`); `inputs` the graph's inputs in order; `patches` those in force during the
    trace. `dtype` is the pipeline's, save where mindone itself runs the model in another (`Spec.dtype`). `fixed` tells
    what the graph has fixed. For any batch it is the plan at the first of `DYNAMIC_BATCHES`, and `twins` are those at
    the others; they are no part of the JSON, which is of one trace. Nor are `dtype_from`, where the type comes from,
    and `warnings`, what of the folder the user should look at: they are about the plan.
    """

    name: str
    model: str
    class_name: str
    library: Library
    folder: Path
    call: Call | None
    dtype: str
    inputs: tuple[TensorSpec, ...]
    patches: tuple[str, ...] = ()
    twins: tuple[ComponentPlan, ...] = ()
    fixed: tuple[FixedValue, ...] = field(default=(), compare=False)
    dtype_from: str = field(default="", compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def open_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, with -1 for what the twins have otherwise."""
        several = zip(self.inputs, *(twin.inputs for twin in self.twins), strict=True)
        return tuple(open_spec(specs) for specs in several)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "model": self.model,
            "class_name": self.class_name,
            "library": self.library,
            "folder": str(self.folder),
            "call": None if self.call is None else self.call.to_json(),
            "dtype": self.dtype,
            "inputs": [spec.to_json() for spec in self.inputs],
            "patches": list(self.patches),
            "fixed": [value.to_json() for value in self.fixed],
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
            call=None if data["call"] is None else Call.from_json(data["call"]),
            dtype=data["dtype"],
            inputs=tuple(TensorSpec.from_json(spec) for spec in data["inputs"]),
            patches=tuple(data["patches"]),
            fixed=tuple(FixedValue.from_json(value) for value in data["fixed"]),
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
