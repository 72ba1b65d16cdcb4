"""The JSON documents that attnfuse writes: `attnfuse.report/2` and `attnfuse.manifest/2`.

What was made elsewhere is in them as it was made: sites, policy rules, tensors, digests, fixed values.
Neither holds an absolute path, a time, or anything else that differs between two runs on the same input.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from attnfuse.cost.records import Comparison
from attnfuse.decisions import SiteRecord
from attnfuse.names import leads_out
from attnfuse.output import MANIFEST_SCHEMA, FileDigest
from attnfuse.policy import Rule
from attnfuse.tracing.contract import FixedValue, SizeFacts, TensorSpec, Traced
from attnfuse.version import __version__


def _below(name: str) -> str:
    if leads_out(name):
        raise ValueError(f"{name!r} is no path below the output's folder")
    return name


def _one(name: str) -> str:
    if leads_out(name) or "/" in name:
        raise ValueError(f"{name!r} is no name that a file can have")
    return name


FileName: TypeAlias = Annotated[str, AfterValidator(_below)]
"""A file of an output, relative to its folder, which it does not lead out of."""
ComponentName: TypeAlias = Annotated[str, AfterValidator(_one)]
"""Files and folders are called after components."""


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def to_bytes(self) -> bytes:
        """The document as UTF-8 JSON, keys in the order of the model."""
        return (json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `schema` is a method of pydantic's, so the field has another name in Python."""
        return self.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True, slots=True)
class BesideEntry:
    """One kernel beside a fused node: of which site, on the way of query, key, value or result.

    `node` is its value, `bytes` what it reads and writes, -1 where that is not known before run time. `needed_by` are
    the nodes that make or take the numbers as they are where the fused node does not: `Concat CNode_12`.
    """

    site: str
    of: str
    op: str
    node: str
    bytes: int
    needed_by: tuple[str, ...]


class LegalisedEntry(_Document):
    """Nodes of one operator that were written with others, those in `into`; none where they fell away.

    Nodes of the source, and those that one rewrite wrote and a later one wrote otherwise.

    `absorbed` are the operators of the nodes that went with them, as nothing else read them: where a formula of several
    nodes became one operator, `op` is that of its last node and these are the others'. `refused` says why some were not
    written as the operator that the target has for them.
    """

    op: str
    count: int
    into: tuple[str, ...]
    absorbed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class UnsupportedEntry(_Document):
    """Nodes of the result of one operator that the runtime does not take, and the one reason why they stay.

    Or that it takes, and a rewrite left as they are. `code` is one of docs/codes.md, "" where a rewrite has the reason.
    `nodes` are values of the graph, `modules` the parts of the model they belong to, as far as weights or scopes tell.
    """

    op: str
    count: int
    reason: str
    code: str = ""
    nodes: tuple[str, ...]
    modules: tuple[str, ...]


AT_COMPILE_TIME = "computed when the graph is compiled: nothing runs"
"""What CANN does with nodes that constants alone go into, whether or not they have a kernel."""


class KernelEntry(_Document):
    """Nodes of the result of one operator that have no AI Core kernel for their element types on the SoC.

    `types` are those of inputs and outputs, `otherwise` is what CANN does instead: it casts, hands the nodes to the AI
    CPU (or the build fails), or computes them when it compiles the graph, of constants alone. `source` says of which
    CANN that was read. Nothing was run. `nodes` and `modules` as in `UnsupportedEntry`.
    """

    op: str
    count: int
    code: str
    types: str
    otherwise: str
    source: str
    nodes: tuple[str, ...]
    modules: tuple[str, ...]


class SimplifiedEntry(_Document):
    """Nodes of one operator that changed nothing and are gone, or that are computed in another type.

    `what` says why. `error` is how far a number may be off because of it, at most: 0 where all stay as they are.
    """

    op: str
    what: str
    count: int
    error: float


class Totals(_Document):
    """Counts over sites, and two over nodes.

    `softmax` counts the Softmax nodes of the source and `already_fused` its fused attention nodes; together they are
    fused + kept + missed + not_attention. `sites` is what is attention: fused + kept + missed. `legalised` counts the
    nodes that were written with operators the runtime takes, `unsupported` those of the result that it does not take.
    `score_bytes_saved` is the sum over sites: what is no longer written and read in one execution. Memory is used again
    from site to site, so that the peak falls by at most `largest_score_bytes`, of the largest site.
    `failed` counts the components of the source that could not be had; none of their sites is counted.
    """

    softmax: int
    already_fused: int
    sites: int
    fused: int
    kept: int
    missed: int
    not_attention: int
    casts: int
    padded_heads: int
    score_bytes_saved: int
    largest_score_bytes: int
    legalised: int
    unsupported: int
    failed: int = 0


class ComponentEntry(_Document):
    """One graph. `nodes` counts those of the source, constants included; `fixed` is what the graph has fixed.

    `dtype` is the float type it was traced in and `dtype_from` where that comes from, null and empty for a graph that
    was traced elsewhere. `traced` says how it was traced: `how` block by block, each of `kinds` distinct blocks once
    for its `occurrences`, or whole, and `why_whole`; null for a graph that was traced elsewhere. `options` are those
    that the passes had, by pass and name ("fuse.largest_constant"); `plugins` are the versions of the plugins that
    could have a say, by name. `cost` is the estimate of source and result on the SoC, by the rules of docs/cost.md:
    nothing of it was measured. `beside` are the transposes, pads, slices and splits that are left beside fused nodes,
    each a kernel; at any batch, those of the smallest. `not_rewritten` are nodes that the runtime takes and that a
    rewrite was for, a plugin's as a rule, but did not write otherwise. `without_kernel` is told for MindSpore Lite.
    """

    name: str
    dtype: str | None = None
    dtype_from: str = ""
    traced: Traced | None = None
    options: dict[str, Any] = {}
    plugins: dict[str, str] = {}
    nodes: int
    fixed: tuple[FixedValue, ...] = ()
    sites: tuple[SiteRecord, ...]
    legalised: tuple[LegalisedEntry, ...]
    unsupported: tuple[UnsupportedEntry, ...]
    not_rewritten: tuple[UnsupportedEntry, ...] = ()
    simplified: tuple[SimplifiedEntry, ...] = ()
    without_kernel: tuple[KernelEntry, ...] = ()
    cost: Comparison = Comparison()
    beside: tuple[BesideEntry, ...] = ()
    totals: Totals


class FailedEntry(_Document):
    """A component of the source that could not be traced, and why; the others are in the report."""

    name: str
    reason: str


class Report(_Document):
    """`attnfuse.report/2`: the census of a source.

    `judged_by` are the versions of MindSpore, MindSpore Lite and CANN whose tables the result was held to.
    """

    schema_: Literal["attnfuse.report/2"] = Field(default="attnfuse.report/2", alias="schema")
    attnfuse: str = __version__
    runtime: str
    soc: str
    judged_by: dict[str, str] = {}
    components: tuple[ComponentEntry, ...]
    failed: tuple[FailedEntry, ...] = ()
    totals: Totals
    warnings: tuple[str, ...]


class ManifestInput(_Document):
    """One input of a graph, as `TensorSpec`; `converted_dtype` is its type in the model MindSpore Lite makes of it.

    int64 becomes int32 there, everything else stays (run); what is fed is what `get_inputs()` says. Null where no Lite
    converts the graph.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    converted_dtype: str | None = None


class ManifestComponent(_Document):
    """One graph of the output: its file, what it takes and gives, in order, and what it has fixed.

    `sources` are the files it was read from, as `Manifest.inputs` names them. `policy` are the rules it was compiled
    with where they are not the manifest's: it stayed while others were compiled with other rules. `base` is the
    component at the first size, whose files of weights are among `variables`, of one at another. `dtype` and
    `dtype_from` as in `ComponentEntry`; `warnings` are about its source. `config` is the configuration that MindSpore
    Lite is to be given with it, null for another runtime.
    """

    name: ComponentName
    owner: str
    base: ComponentName | None = None
    dtype: str | None = None
    dtype_from: str = ""
    warnings: tuple[str, ...] = ()
    graph: FileName
    variables: tuple[FileName, ...]
    config: FileName | None = None
    inputs: tuple[ManifestInput, ...]
    outputs: tuple[TensorSpec, ...]
    fixed: tuple[FixedValue, ...] = ()
    sources: tuple[str, ...]
    policy: tuple[Rule, ...] | None = None


class ManifestVae(_Document):
    """The VAE's, each null where its configuration does not say.

    Latents are divided by `scaling_factor`, and `shift_factor` added, before they are decoded; `scale_factor` is pixels
    per latent, along either side. `latents_mean` and `latents_std` are those of each channel.
    """

    scaling_factor: float | None = None
    shift_factor: float | None = None
    latent_channels: int | None = None
    scale_factor: int | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None


class ManifestPipeline(_Document):
    """What a loop over the components needs, and where they are from; each null where nobody knows.

    `class_name` is the pipeline's, null for a single model. `source` is a hub id or `demo:NAME`, `revision` the commit
    of a hub's repository. `height` and `width` are pixels, `frames` those of a video, `guidance_rows` the rows of the
    denoiser for an image. `text_lengths` are the tokens of a text, by component; `timestep_dtype` is the type of the
    timesteps. `sizes` are those that it was compiled for, the first of them the one told here; none where it is one.
    `files` are those of the output that the source has too, or that were made of its own.
    """

    class_name: str | None = None
    source: str | None = None
    revision: str | None = None
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    guidance_rows: int | None = None
    timestep_dtype: str | None = None
    text_lengths: dict[str, int] = {}
    sizes: tuple[SizeFacts, ...] = ()
    vae: ManifestVae | None = None
    files: tuple[FileName, ...] = ()

    @property
    def origin(self) -> str:
        """Where the components are from, for a sentence: `org/name at commit 1f2e`, `a folder of FluxPipeline`."""
        if self.source is None:
            return f"a folder of {self.class_name or 'a single model'}"
        return self.source if self.revision is None else f"{self.source} at commit {self.revision}"

    def told_of(self, components: Sequence[ManifestComponent]) -> ManifestPipeline:
        """The same with what the components say: how long their texts are, and the type of their timesteps."""
        fixed = (one for component in components for one in component.fixed if one.name == "timestep_dtype")
        lengths = {
            component.name: spec.shape[-1]
            for component in components
            for spec in component.inputs
            if spec.name == "input_ids" and spec.shape
        }
        types = [str(one.value) for one in fixed]
        return self.model_copy(update={"text_lengths": lengths, "timestep_dtype": types[0] if types else None})


ONLY_GRAPHS = "graphs that were traced before"
"""Where components are from that came without a pipeline."""


class Manifest(_Document):
    """`attnfuse.manifest/2`: what was made from what. File names are relative to the source and to the output.

    Of several compiles into one folder, each of some components, `policy` is that of the last. `judged_by` as in
    `Report`. `pipeline` is null where nothing but graphs was given.
    """

    schema_: Literal["attnfuse.manifest/2"] = Field(default=MANIFEST_SCHEMA, alias="schema")
    versions: dict[str, str]
    runtime: str
    soc: str
    judged_by: dict[str, str] = {}
    policy: tuple[Rule, ...]
    pipeline: ManifestPipeline | None = None
    components: tuple[ManifestComponent, ...]
    inputs: dict[str, FileDigest]
    outputs: dict[FileName, FileDigest]
