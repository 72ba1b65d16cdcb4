"""Segments of a verification: a site or a replaced operator alone, for others to run.

A segment is two small graphs and the weights that they read, the values that a site met, and a seed; all but the seed
go by digest. What comes back are figures, which are put together here as those that this process works out itself. Of
sites that are alike one segment draws operands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from attnfuse import dispatch
from attnfuse.dispatch import Contents, Dispatcher, packed, unpacked
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.mindir.external import parameter_name, parameters
from attnfuse.mindir.schema import ModelProto, TensorProto
from attnfuse.serialisation import from_json, to_json
from attnfuse.verify import watch
from attnfuse.verify.graph.fused_nodes import read
from attnfuse.verify.graph.sites import Cut, ReplacedOperator, Site
from attnfuse.verify.limits import Limits, current, limited
from attnfuse.verify.numbers import expected, replaced_operators, site_numbers
from attnfuse.verify.numbers.comparison import Part, Side
from attnfuse.verify.numbers.site_numbers import NOTHING, Drawn, Judged, Known, key_of
from attnfuse.verify.numbers.weights import WeightProvider

_OWN, _LEAF = "own", "leaf "


@dataclass(frozen=True, slots=True)
class Told:
    """A site, with its fused node by name: see `Site`."""

    output: str
    module: str
    node: str | None
    entries: Mapping[str, str]
    compute: str
    beside: tuple[str, ...]

    @classmethod
    def of(cls, site: Site) -> Told:
        """What there is to tell of it."""
        node = None if site.attention is None else site.attention.node.name
        return cls(site.output, site.module, node, site.entries, site.compute.name, tuple(sorted(site.beside)))

    def found_in(self, part: Cut) -> Site:
        """The site in its part. Raises LookupError where that has no such node, MalformedError where it is none."""
        attention = None
        if self.node is not None:
            node = part.fused.producer(self.node)
            if node is None:
                raise LookupError(f"the part of {self.output} has no {self.node}")
            attention = read(part.fused, node)
        return Site(
            output=self.output,
            module=self.module,
            attention=attention,
            entries=dict(self.entries),
            compute=dtypes.from_name(self.compute),
            beside=frozenset(self.beside),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What is asked: of a `site` the figures on what it "met", `values`, or on "drawn" operands; else the difference of
    two graphs. Graphs, weights and values are digests of contents."""

    asked: Literal["met", "drawn", "difference"]
    original: str
    fused: str
    weights: str
    entries_are_all: bool
    seed: int
    limits: Limits
    site: Told | None = None
    values: str | None = None
    no_fully_masked_rows: bool = False
    are_about_masks: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What is answered: of what was asked. `fault` is why a site cannot be compared, or in what two graphs differ."""

    judged: Judged | None = None
    drawn: dict[str, Drawn] = field(default_factory=dict)
    fault: str | None = None


# --- whoever asks


def known_sites(
    original: Side,
    fused: Side,
    pairs: Sequence[tuple[Site, Cut]],
    values: Mapping[str, Array],
    seed: int,
    never_fully_masked: Set[str],
    *,
    are_about_masks: bool,
) -> Known:
    """What others find of sites, for `compare_sites`, which has these arguments."""
    dispatcher = dispatch.current()
    if dispatcher is None:
        return NOTHING
    met: dict[str, tuple[int, Cut]] = {}
    drawn: dict[str, tuple[tuple[bytes, bool], Cut]] = {}
    segments: dict[str, Segment] = {}
    keys = set()
    for number, (site, part) in enumerate(pairs):
        ruled_out = site.output in never_fully_masked
        handed = _HandedOver.of(dispatcher, part, (original.weights, fused.weights), Told.of(site), seed)
        entering = {f"{_LEAF}{value}": values[value] for value in part.leaves}
        if site.output in values:
            entering[_OWN] = values[site.output]
        segments[f"met {number}"] = handed.asking(
            "met", dispatcher.put(packed(entering)), no_fully_masked_rows=ruled_out, are_about_masks=are_about_masks
        )
        met[f"met {number}"] = number, part
        key = key_of(part), ruled_out
        if part.entries_are_all and key not in keys:
            keys.add(key)
            segments[f"drawn {number}"] = handed.asking("drawn", no_fully_masked_rows=ruled_out)
            drawn[f"drawn {number}"] = key, part
    found_met: dict[int, Judged | str] = {}
    found_drawn: dict[tuple[bytes, bool], dict[str, Drawn]] = {}
    for name, answer in dispatch.done(dispatch.SEGMENT, segments):
        result = from_json(Result, answer)
        if name in drawn:
            key, part = drawn[name]
            found_drawn[key] = result.drawn
            watch.did(expected.drawn(part))
        else:
            number, part = met[name]
            if (found := result.judged or result.fault) is not None:
                found_met[number] = found
            watch.did(expected.met(part))
    return Known(found_met, found_drawn)


def known_replaced(
    original: Side, fused: Side, parts: Sequence[tuple[ReplacedOperator, Cut]], seed: int
) -> dict[bytes, str | None]:
    """What others find of replaced operators, for `compare_replaced`."""
    dispatcher = dispatch.current()
    if dispatcher is None:
        return {}
    alike = {key_of(part): part for _, part in reversed(parts)}
    weights = original.weights, fused.weights
    segments = {
        key.hex(): _HandedOver.of(dispatcher, part, weights, None, seed).asking("difference")
        for key, part in alike.items()
    }
    found = {}
    for name, answer in dispatch.done(dispatch.SEGMENT, segments):
        key = bytes.fromhex(name)
        found[key] = from_json(Result, answer).fault
        watch.did(expected.alone(alike[key]))
    return found


@dataclass(frozen=True, slots=True)
class _HandedOver:
    """A part whose graphs and weights can be found by whoever runs it."""

    graphs: tuple[str, str]
    weights: str
    entries_are_all: bool
    site: Told | None
    seed: int

    @classmethod
    def of(
        cls,
        dispatcher: Dispatcher,
        part: Cut,
        weights: tuple[WeightProvider, WeightProvider],
        site: Told | None,
        seed: int,
    ) -> _HandedOver:
        models = part.original, part.fused
        values = {
            f"{side} {parameter_name(parameter)}": value
            for side, (model, provider) in enumerate(zip(models, weights, strict=True))
            for parameter in parameters(model.proto)
            if (value := provider(parameter)) is not None
        }
        one, other = (dispatcher.put(model.proto.SerializeToString(deterministic=True)) for model in models)
        return cls((one, other), dispatcher.put(packed(values)), part.entries_are_all, site, seed)

    def asking(
        self,
        asked: Literal["met", "drawn", "difference"],
        values: str | None = None,
        *,
        no_fully_masked_rows: bool = False,
        are_about_masks: bool = False,
    ) -> Segment:
        return Segment(
            asked=asked,
            original=self.graphs[0],
            fused=self.graphs[1],
            weights=self.weights,
            entries_are_all=self.entries_are_all,
            seed=self.seed,
            limits=current(),
            site=self.site,
            values=values,
            no_fully_masked_rows=no_fully_masked_rows,
            are_about_masks=are_about_masks,
        )


# --- whoever answers


def answered(request: Any, contents: Contents, memory: int | None) -> Any:
    """The `Result` of a `Segment`, both as plain JSON values, in that many bytes of memory.

    Raises VerificationError, as where this process works it out itself; LookupError and ValueError for what is none.
    """
    segment = from_json(Segment, request)
    with limited(segment.limits.under(memory)):
        return to_json(_result(segment, contents))


def _result(segment: Segment, contents: Contents) -> Result:
    models = [Model(ModelProto.FromString(contents(digest))) for digest in (segment.original, segment.fused)]
    weights = unpacked(contents(segment.weights))
    one, other = (Part(model, _given(weights, side)) for side, model in enumerate(models))
    if segment.site is None:
        return Result(fault=replaced_operators.difference(one, other, segment.seed))
    types = {value.name: models[0].type_of(value.name) for value in models[0].proto.graph.input}
    leaves = {name: tensor_type for name, tensor_type in types.items() if tensor_type is not None}
    part = Cut(models[0], models[1], leaves, segment.entries_are_all)
    site, ruled_out = segment.site.found_in(part), segment.no_fully_masked_rows
    if segment.values is None:
        return Result(
            drawn=site_numbers.on_drawn(site, part, (one, other), segment.seed, no_fully_masked_rows=ruled_out)
        )
    values = unpacked(contents(segment.values))
    own = values.pop(_OWN, None)
    found = site_numbers.on_met(
        site,
        part,
        (one, other),
        {name.removeprefix(_LEAF): value for name, value in values.items()},
        own,
        segment.seed,
        no_fully_masked_rows=ruled_out,
        is_about_masks=segment.are_about_masks,
    )
    return Result(fault=found) if isinstance(found, str) else Result(judged=found)


def _given(values: Mapping[str, Array], side: int) -> WeightProvider:
    """The weights of one of the two graphs."""

    def read_one(parameter: TensorProto) -> Array | None:
        return values.get(f"{side} {parameter_name(parameter)}")

    return read_one
