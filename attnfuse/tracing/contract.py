"""The records that cross the border between the engine and the tracing worker, as JSON (`attnfuse.serialisation`).

Imports of the project `attnfuse.mindir.taken` beside that: both sides of the process border read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from attnfuse.mindir.taken import Taken
from attnfuse.serialisation import Unsaved

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

Way = Literal["blocks", "whole"]
"""How a model is traced: each distinct block once (see `attnfuse.tracing.blocks`), or as one flat graph."""

DEFAULT_WAY: Way = "blocks"
"""In blocks: `-m slow` compares both ways over the matrix. What cannot be traced so is traced whole, and told."""


class TensorKind(Protocol):
    """The type of a tensor, whatever it is called: its dimensions and one of `DTYPES`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph: its name, its dimensions and one of `DTYPES`."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def open_spec(specs: Sequence[TensorSpec]) -> TensorSpec:
    """What is said at several batches, said once: -1 for a dimension that differs."""
    sizes = zip(*(spec.shape for spec in specs), strict=True)
    return replace(specs[0], shape=tuple(one[0] if len(set(one)) == 1 else -1 for one in sizes))


@dataclass(frozen=True, slots=True)
class ShapeOptions:
    """What the user asked of the input shapes; None leaves the configuration's own.

    `batch` counts images or videos, `height` and `width` are pixels, `sequence_length` is the number of text tokens,
    `frames` those of a video, `guidance` whether a batch is doubled for classifier-free guidance (None: as the
    pipeline does by default). `dynamic` names what is left open: "batch". `sequence_lengths` are those of single
    components, by name, which overrule `sequence_length`. `timestep_dtype` is the type of the scheduler's timesteps.
    `clip_skip` says how many of CLIP's layers are skipped, as pipelines have it (None: none).
    `dtypes` are the types that single components are held in, by name, or all of a part, by its name.
    """

    batch: int | None = None
    height: int | None = None
    width: int | None = None
    sequence_length: int | None = None
    frames: int | None = None
    guidance: bool | None = None
    dynamic: Literal["batch"] | None = None
    sequence_lengths: tuple[tuple[str, int], ...] = ()
    timestep_dtype: Literal["float32", "int64"] | None = None
    clip_skip: int | None = None
    dtypes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Size:
    """Shapes that a pipeline is compiled for beside its first; `label` is what the names of components end in then."""

    label: str
    shapes: ShapeOptions


@dataclass(frozen=True, slots=True)
class SizeFacts:
    """One of several sizes that a pipeline is compiled for, and which graphs are of it.

    `height` and `width` are pixels, `frames` those of a video, `batch` counts images or videos: what its components
    were planned with, null where none was. `components` names the graphs that are of this size, by the component that
    stands in the same place at the first size; what is not listed has the same graph at both. `label` is empty for the
    first.
    """

    label: str
    height: int | None
    width: int | None
    frames: int | None
    batch: int | None
    components: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Which files of a source are read, as mindone's `from_pretrained` takes it.

    `revision` is a branch, tag or commit of a hub repository, `subfolder` a folder within the source, `variant` that of
    weights (`….fp16.safetensors`), where a part has it; `offline` fetches nothing that is not in the hub's cache.
    Where the source is a single file of weights under their original names, `config` is the folder or hub repository
    with all that it lacks, and those are about that. `vae` is that of a VAE which takes the place of the pipeline's,
    `ip_adapter` the file of an IP-Adapter, with its scale behind an "@".
    """

    revision: str | None = None
    subfolder: str = ""
    variant: str = ""
    offline: bool = False
    config: str = ""
    vae: str = ""
    ip_adapter: str = ""


NOTHING_NAMED = Fetch()
"""What mindone reads where nothing is named."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is called to trace a graph: `result = self.<attribute>.<method>(<keyword>=<expression>, …)`.

    The expressions are Python over the names of the plan's inputs; `method` is empty where the model itself is
    called. `outputs` are the graph's, each a name and an expression over `result`.
    """

    method: str
    arguments: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FixedValue:
    """Something a pipeline may set at run time, and a graph has once and for all.

    `name` is the pipeline's or the call's, `value` what it is in the graph, as a JSON value (None: there is no such
    thing in the graph), `meaning` says what that comes to and what to do for another.
    """

    name: str
    value: Any
    meaning: str


@dataclass(frozen=True, slots=True)
class Processor:
    """An attention processor that a pipeline gives a model before it calls it.

    `name` is its class in mindone's `attention_processor`, or `MODULE:CLASS` of another below mindone/diffusers;
    `arguments` are those it is made with, `layers` the patterns (Python's `re`) of the attention that gets it, as
    pipelines take them: of self-attention alone, as `PAGMixin` does, or of all attention where there are none.
    """

    name: str
    layers: tuple[str, ...] = ()
    arguments: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ComponentPlan:
    """One graph to be traced.

    `name` is the component's ("unet", "vae_decoder"); `model` the attribute of the pipeline that owns it ("unet",
    "vae", …); `folder` the folder with the model's config.json and weights; `checkpoint` the single file that has its
    weights, under their original names, in place of the folder's; `call` what is traced (None for the positional call
    of a live cell); `variant` that of the files of its weights ("fp16"), if any; `package` where below mindone its
    class lies, if not in its library; `dtype` what the model's float parameters are held in (but for those
    that mindone keeps in float32, see `build.py`); `inputs` the graph's inputs in order; `patches` those in force
    during the trace. `dtype` is the pipeline's, save where mindone itself runs the model in another (`Spec.dtype`).
    `fixed` tells what the graph has fixed. `ip_adapter` is the file of the IP-Adapter that the model is given. For any
    batch it is the plan at the first of `DYNAMIC_BATCHES`, and `twins` are those at the others; they are no part of
    the JSON, which is of one trace. `processors` are given to the model's attention
    before the trace. No part of the JSON either are `dtype_from`, where the type comes from,
    and `warnings`, what of the folder the user should look at: they are about the plan. Nor are
    `way`, how it is to be traced, `sizes`, those of the pipeline by name ("height"), as far as its family is known, and
    `base`, the component at the pipeline's first size, of one at another.
    """

    name: str
    model: str
    class_name: str
    library: Library
    folder: Path
    call: Call | None
    dtype: str
    inputs: tuple[TensorSpec, ...]
    patches: tuple[str, ...] = field(kw_only=True)
    package: str = field(kw_only=True)
    twins: Unsaved[tuple[ComponentPlan, ...]] = ()
    fixed: tuple[FixedValue, ...] = field(kw_only=True, compare=False)
    variant: str = field(kw_only=True)
    checkpoint: Path | None = field(kw_only=True)
    processors: tuple[Processor, ...] = field(kw_only=True)
    ip_adapter: Path | None = field(kw_only=True)
    way: Unsaved[Way] = field(default=DEFAULT_WAY, kw_only=True)
    dtype_from: Unsaved[str] = field(default="", compare=False)
    warnings: Unsaved[tuple[str, ...]] = field(default=(), compare=False)
    sizes: Unsaved[Mapping[str, int]] = field(default_factory=dict, compare=False)
    base: Unsaved[str] = field(default="", compare=False)

    @property
    def weights_in(self) -> Path:
        """The file or folder that its weights are in."""
        return self.folder if self.checkpoint is None else self.checkpoint

    @property
    def open_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, with -1 for what the twins have otherwise."""
        several = zip(self.inputs, *(twin.inputs for twin in self.twins), strict=True)
        return tuple(open_spec(specs) for specs in several)


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """Where the value of one graph parameter lies.

    Tensor `key` of the safetensors file `file` holds it, in this `shape` and with its elements in the order the
    graph wants. `dtype` is the graph parameter's: the tensor in the file may have another float type, and to convert
    that (to nearest, ties to even) is all a reader does. Of a file under original names `key` is what diffusers calls
    the tensor, and `taken` says what of the file it is.
    """

    parameter: str
    file: Path
    key: str
    dtype: str
    shape: tuple[int, ...]
    taken: Taken | None = None


@dataclass(frozen=True, slots=True)
class BlockCache:
    """Where the blocks of other traces are kept: see `attnfuse.store`.

    `place` is a folder or a URL, `key_file` what signs entries, `made_by` a digest of all that a trace depends on
    beside the plan and its files.
    """

    place: str
    is_folder: bool
    key_file: Path | None
    made_by: str


@dataclass(frozen=True, slots=True)
class Traced:
    """How a component was traced.

    Block by block: `kinds` distinct blocks were traced by themselves, and stand in the graph `occurrences` times.
    Whole: `why_whole` says why it was not traced block by block; empty where that was not asked for.
    """

    how: Way
    kinds: int = 0
    occurrences: int = 0
    why_whole: str = ""


@dataclass(frozen=True, slots=True)
class TracedComponent:
    """What one trace left behind.

    `graph` is a MindIR file whose parameters have dims and data_type but no values; `weights` names the source
    of every one of them, in the graph's order; `versions` holds the versions of mindspore, mindone and
    transformers; `seconds` and `peak_rss_bytes` are the worker's wall time and peak memory; `traced` says how.
    `blocks_made` counts the blocks that it traced by themselves and put into the cache.
    """

    plan: ComponentPlan
    graph: Path
    weights: tuple[StoredWeight, ...]
    outputs: tuple[TensorSpec, ...]
    versions: dict[str, str]
    seconds: float
    peak_rss_bytes: int
    traced: Traced = Traced("whole")
    blocks_made: int = 0
