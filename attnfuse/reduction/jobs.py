"""The three things that a graph is reduced by: what is looked for first, in the whole, and how it is made smaller."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from attnfuse.component import Component
from attnfuse.errors import RequirementError, UsageError
from attnfuse.ir.graph import Model
from attnfuse.ir.inline import inlined
from attnfuse.mindir import codec
from attnfuse.mindir.external import byte_size, has_data
from attnfuse.mindir.schema import ModelProto
from attnfuse.reduction.commands import PLACE, Command
from attnfuse.reduction.errors import Compile
from attnfuse.reduction.parts import Cutter, node_count
from attnfuse.reduction.result import Kind, Reduction, Weights
from attnfuse.reduction.search import Graphs, Search, Tell
from attnfuse.verify import require_executor
from attnfuse.verify.numbers.weights import drawn_weights

_MOST_BYTES = 2**31 - 2**26
"""Of weights in one file: a message ends at 2 GiB, and holds the graph besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A search that has begun, with what it begins with: `run` takes long, `found` is the best at any time."""

    kind: Kind
    search: Search
    names: Sequence[str]
    shrink: Callable[[Search], None]
    said: Callable[[Graphs], Sequence[str]]
    whole: int
    again: str
    values: Values

    def run(self) -> None:
        """Make it as small as it becomes."""
        self.shrink(self.search)

    def found(self, *, finished: bool = True) -> Reduction:
        """The smallest so far."""
        graphs = self.search.best
        return Reduction(
            kind=self.kind,
            said=tuple(self.said(graphs)),
            graphs=dict(zip(self.names, map(self.values.put_into, graphs), strict=True)),
            whole=self.whole,
            tried=self.search.tried,
            weights=self.values.weights,
            seed=self.values.seed,
            again=self.again,
            finished=finished,
        )


@dataclass(frozen=True, slots=True)
class Values:
    """What becomes of the values of weights: none, or drawn with a seed as verification draws them."""

    weights: Weights
    seed: int

    def put_into(self, graph: ModelProto) -> ModelProto:
        """The graph, whose weights have no values, with those that they are to have."""
        if self.weights == "none":
            return graph
        size = sum(byte_size(parameter) or 0 for parameter in graph.graph.parameter)
        if size > _MOST_BYTES:
            raise UsageError("its weights take more than the 2 GB that one file holds; --weights none leaves them out.")
        filled, draw = ModelProto(), drawn_weights(self.seed)
        filled.CopyFrom(graph)
        for parameter in filled.graph.parameter:
            value = None if has_data(parameter) else draw(parameter)
            parameter.raw_data = b"" if value is None else value.tobytes()
        return filled


def difference(source: Path, out: Path, seed: int, work: Path, tell: Tell) -> Job:
    """For where the rewrite `out` differs from the graph `source`.

    Raises RequirementError where it does not, VerificationError where that cannot be told, SourceError for a file that
    cannot be read, UsageError where onnxruntime is missing.
    """
    require_executor("numbers")
    from attnfuse.reduction import differences, pairs

    original, fused = (codec.parse(codec.read_bytes(path), str(path)) for path in (source, out))
    begun = differences.begin(original, fused, seed, work, tell)
    if begun is None:
        raise RequirementError(
            f"nothing to reduce: {out} does not differ from {source} in structure, nor in numbers on drawn inputs and "
            "weights; attnfuse verify compares them with their own weights, and with MindSpore's inference."
        )
    search, found = begun
    return Job(
        kind="difference",
        search=search,
        names=("original", "fused"),
        shrink=pairs.shrink,
        said=found,
        whole=node_count(original),
        again=f"attnfuse verify original.mindir fused.mindir --seed {seed}",
        values=Values("none", seed),
    )


def error(compiles: Iterable[Compile], values: Values, again: Callable[[str], str], tell: Tell) -> Job:
    """For the error that the passes end in, over the first component where they do; `again` is by its name.

    Raises RequirementError where they end well over all, or only do not with the weights' own values.
    """
    names = []
    for compile_ in compiles:
        name = compile_.component.name
        names.append(name)
        tell(f"{name}: running the passes")
        wanted = compile_.failure()
        if wanted is None:
            continue
        tell(f"{name}: {wanted.said}")

        def holds(graphs: Graphs, compile_: Compile = compile_, key: tuple[str, ...] = wanted.key) -> bool:
            failure = compile_.failure_of(values.put_into(graphs[0]))
            return failure is not None and failure.key == key

        def said(graphs: Graphs, compile_: Compile = compile_) -> list[str]:
            failure = compile_.failure_of(values.put_into(graphs[0]))
            return [] if failure is None else [failure.said, *filter(None, [failure.key[1]])]

        first = _first(compile_.component, holds)
        if first is None:
            raise RequirementError(
                f"nothing to reduce: {name} ends in that error with the values of its weights only, and these are left "
                f"out{'; --weights drawn draws others' if values.weights == 'none' else ''}: {wanted.said}"
            )
        return _job("error", first, holds, said, compile_.component, again(name), values, tell)
    raise RequirementError(
        f"nothing to reduce: {', '.join(names)} compiles without an error; name the compiled graph too where it "
        "differs, or a command that refuses it with --while."
    )


def refusal(components: Iterable[Component], command: Command, values: Values, work: Path, tell: Tell) -> Job:
    """For what a command refuses in the first component that it refuses.

    Raises RequirementError where it refuses none, or not without the weights' own values; UsageError where there is no
    such command.
    """
    for component in components:
        name = component.name
        file = work / f"{name}.mindir"
        whole = _bare(component)
        tell(f"{name}: running the command")
        if component.original is not None:
            code = command.run(component.original)
        else:
            file.write_bytes(codec.serialise(values.put_into(whole)))
            code = command.run(file)
        if code == 0:
            continue
        tell(f"{name}: the command ends with exit code {code}")

        def holds(graphs: Graphs, file: Path = file, code: int = code) -> bool:
            file.write_bytes(codec.serialise(values.put_into(graphs[0])))
            return command.run(file) == code

        first = _first(component, holds)
        if first is None:
            raise RequirementError(
                f"nothing to reduce: the command ends with exit code {code} on {name}, and with another one where the "
                f"values of weights are {'left out' if values.weights == 'none' else 'drawn'}."
            )
        said = partial(_with_code, code)
        again = command.text.replace(PLACE, shlex.quote(file.name))
        return _job("refusal", first, holds, said, component, again, values, tell)
    raise RequirementError("nothing to reduce: the command ends with exit code 0.")


def _with_code(code: int, _: Graphs) -> list[str]:
    return [f"the command ends with exit code {code}"]


def _bare(component: Component) -> ModelProto:
    """The whole graph of a component without values of weights. Raises SourceError for one that has no output."""
    cutter = Cutter(Model(component.parse()))
    part = cutter.part(cutter.names)
    if part is None:
        raise RequirementError(f"nothing to reduce: {component.name} has no node that gives a tensor.")
    return part


def _first(component: Component, holds: Callable[[Graphs], bool]) -> ModelProto | None:
    """The whole graph without weights, calls inlined where that changes nothing; None where it does not hold of it."""
    whole = _bare(component)
    flat = inlined(Model(whole)).proto
    return next((graph for graph in ([flat] if flat is whole else [flat, whole]) if holds((graph,))), None)


def _job(
    kind: Kind,
    first: ModelProto,
    holds: Callable[[Graphs], bool],
    said: Callable[[Graphs], Sequence[str]],
    component: Component,
    again: str,
    values: Values,
    tell: Tell,
) -> Job:
    return Job(
        kind=kind,
        search=Search((first,), holds, tell),
        names=(component.name,),
        shrink=Search.fewer_nodes,
        said=said,
        whole=node_count(component.parse()),
        again=again,
        values=values,
    )
