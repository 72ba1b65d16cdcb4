"""The JSON documents that attnfuse writes: `attnfuse.report/1` and `attnfuse.manifest/1`.

Neither holds an absolute path, a time, or anything else that differs between two runs on the same input.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from attnfuse.decisions import Form, Status
from attnfuse.output import MANIFEST_SCHEMA
from attnfuse.version import __version__


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def to_bytes(self) -> bytes:
        """The document as UTF-8 JSON, keys in the order of the model."""
        return (json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `schema` is a method of pydantic's, so the field has another name in Python."""
        return self.model_dump(mode="json", by_alias=True)


class MissEntry(_Document):
    """Why a site is not fused: see `attnfuse.decisions.Miss`. `at` is a value of the graph."""

    code: str
    at: str
    expected: str
    found: str


class SiteEntry(_Document):
    """One Softmax or already fused node of the source. Shapes are in elements, byte counts of one execution."""

    id: str
    form: Form
    status: Status
    code: str
    reason: str
    rule: str | None
    node: str | None
    layout: str | None
    q: tuple[int, ...] | None
    k: tuple[int, ...] | None
    v: tuple[int, ...] | None
    dtype: str | None
    compute_dtype: str | None
    restored_dtype: str | None
    scale: float | None
    scale_factors: tuple[float, ...]
    mask: str | None
    row_guard: str | None
    padded_head: int
    casts: int
    score_bytes_saved: int
    mask_bytes: int
    warnings: tuple[str, ...]
    miss: MissEntry | None


class LegalisedEntry(_Document):
    """Nodes of one operator of the source that were written with others, those in `into`; none where they fell away."""

    op: str
    count: int
    into: tuple[str, ...]


class OutsideEntry(_Document):
    """Nodes of the result of one operator that the runtime does not take, and the one reason why they stay.

    `nodes` are values of the graph, `modules` the parts of the model they belong to, as far as weights or scopes tell.
    """

    op: str
    count: int
    reason: str
    nodes: tuple[str, ...]
    modules: tuple[str, ...]


class Totals(_Document):
    """Counts over sites, and two over nodes.

    `softmax` counts the Softmax nodes of the source and `already_fused` its fused attention nodes; together they are
    fused + kept + missed + not_attention. `sites` is what is attention: fused + kept + missed. `legalised` counts the
    nodes that were written with operators the runtime takes, `outside` those of the result that it does not take.
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
    outside: int
    failed: int = 0


class FixedEntry(_Document):
    """What a graph has fixed and a pipeline may set at run time: see `attnfuse.tracing.contract.FixedValue`."""

    name: str
    value: Any
    meaning: str


class ComponentEntry(_Document):
    """One graph. `nodes` counts those of the source, constants included; `fixed` is what the graph has fixed.

    `dtype` is the float type it was traced in and `dtype_from` where that comes from, null and empty for a graph that
    was traced elsewhere. `options` are those that the passes had, by pass and name ("fuse.largest_constant"); `plugins`
    are the versions of the plugins that could have a say, by name.
    """

    name: str
    dtype: str | None = None
    dtype_from: str = ""
    options: dict[str, Any] = {}
    plugins: dict[str, str] = {}
    nodes: int
    fixed: tuple[FixedEntry, ...] = ()
    sites: tuple[SiteEntry, ...]
    legalised: tuple[LegalisedEntry, ...]
    outside: tuple[OutsideEntry, ...]
    totals: Totals


class FailedEntry(_Document):
    """A component of the source that could not be traced, and why; the others are in the report."""

    name: str
    reason: str


class Report(_Document):
    """`attnfuse.report/1`: the census of a source."""

    schema_: Literal["attnfuse.report/1"] = Field(default="attnfuse.report/1", alias="schema")
    attnfuse: str = __version__
    runtime: str
    soc: str
    components: tuple[ComponentEntry, ...]
    failed: tuple[FailedEntry, ...] = ()
    totals: Totals
    warnings: tuple[str, ...]


class TensorEntry(_Document):
    """An input or output of a graph; a dimension of -1 is not known before run time."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class FileEntry(_Document):
    """A file's content."""

    sha256: str
    bytes: int


class RuleEntry(_Document):
    """A policy rule; null leaves a setting as it is, or selects every site."""

    rule: str
    match: str
    flash: bool | None
    force_cast_dtype: str | None
    masked_rows: str | None
    min_sequence_length: int | None
    head_dim: int | None
    dtype: str | None
    attention: str | None


class ManifestComponent(_Document):
    """One graph of the output: its file, what it takes and gives, in order, and what it has fixed.

    `sources` are the files it was read from, as `Manifest.inputs` names them. `policy` are the rules it was compiled
    with where they are not the manifest's: it stayed while others were compiled with other rules. `dtype` and
    `dtype_from` as in `ComponentEntry`; `warnings` are about its source.
    """

    name: str
    owner: str
    dtype: str | None = None
    dtype_from: str = ""
    warnings: tuple[str, ...] = ()
    graph: str
    variables: tuple[str, ...]
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    fixed: tuple[FixedEntry, ...] = ()
    sources: tuple[str, ...]
    policy: tuple[RuleEntry, ...] | None = None


class Manifest(_Document):
    """`attnfuse.manifest/1`: what was made from what. File names are relative to the source and to the output.

    Of several compiles into one folder, each of some components, `policy` is that of the last.
    """

    schema_: Literal["attnfuse.manifest/1"] = Field(default=MANIFEST_SCHEMA, alias="schema")
    versions: dict[str, str]
    runtime: str
    soc: str
    policy: tuple[RuleEntry, ...]
    components: tuple[ManifestComponent, ...]
    inputs: dict[str, FileEntry]
    outputs: dict[str, FileEntry]
