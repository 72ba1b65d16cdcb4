"""A failing mutant made small: the fewest of its edits, then the fewest nodes, that fail in the same way."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from attnfuse.mindir import codec
from attnfuse.mindir.schema import GraphProto, ModelProto
from tools.fuzz import cases, mutants
from tools.fuzz.cases import Bench, Kind
from tools.fuzz.mutants import ATTEMPTS, Mutant
from tools.fuzz.outcomes import MEMORY_FOLDER, Outcome
from tools.fuzz.running import Place


def minimise(number: int, output: Path | None) -> int:
    """Tell, and write to `output`, the smallest mutant found; 1 where the mutant does not fail at all."""
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-", dir=MEMORY_FOLDER) as folder:
        place = Place(Path(folder))
        mutant = mutants.make(number)
        wanted = place.run(mutant)
        if not wanted.failed:
            print(f"mutant {number} does not fail: {wanted.kind}")
            return 1
        mutant = _fewer_edits(mutant, wanted, place)
        mutant = _fewer_nodes(mutant, wanted, place)
    message = codec.parse(mutant.data, "a mutant")
    print(f"{wanted.kind}: {wanted.where}\nseed {mutant.seed}, {len(message.graph.node)} nodes left")
    print("\n".join(mutant.edits) + "\nattnfuse " + " ".join(mutant.command))
    if output is not None:
        output.write_bytes(mutant.data)
    return 0


def minimise_case(kind: Kind, number: int, output: Path | None) -> int:
    """Tell the fewest edits of another kind's mutant with which it fails, and lay its files at `output`."""
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-", dir=MEMORY_FOLDER) as folder:
        bench = Bench(Path(folder))
        case = cases.make(kind, number)
        wanted = bench.run(case)
        if not wanted.failed:
            print(f"mutant {number} of kind {kind.name} does not fail: {wanted.kind}")
            return 1
        without: set[int] = set()
        for at in range(cases.ATTEMPTS):
            tried = cases.make(kind, number, without | {at})
            found = bench.run(tried)
            if (found.kind, found.where) == (wanted.kind, wanted.where):
                without.add(at)
                case = tried
    print(f"{wanted.kind}: {wanted.where}\nseed {case.seed}, read as {case.read}\n" + "\n".join(case.edits))
    if output is not None:
        cases.lay(output, case.files)
    return 0


def _same(mutant: Mutant, wanted: Outcome, place: Place) -> bool:
    found = place.run(mutant)
    return (found.kind, found.where) == (wanted.kind, wanted.where)


def _fewer_edits(mutant: Mutant, wanted: Outcome, place: Place) -> Mutant:
    without: set[int] = set()
    for at in range(ATTEMPTS):
        tried = mutants.make(mutant.number, without | {at})
        if _same(tried, wanted, place):
            without.add(at)
            mutant = tried
    return mutant


def _fewer_nodes(mutant: Mutant, wanted: Outcome, place: Place) -> Mutant:
    """Blocks of nodes go, halved each time, as long as the failure stays."""
    size = len(codec.parse(mutant.data, "a mutant").graph.node)
    while size > 1:
        size //= 2
        at = 0
        while at < len(codec.parse(mutant.data, "a mutant").graph.node):
            tried = dataclasses.replace(mutant, data=_without(mutant.data, at, at + size))
            if _same(tried, wanted, place):
                mutant = tried
            else:
                at += size
    return mutant


def _without(data: bytes, start: int, stop: int) -> bytes:
    """Without those nodes of the top graph; what read one reads an input of its type, put there for it."""
    message = ModelProto()
    message.ParseFromString(data)
    graph = message.graph
    kept = GraphProto()
    for at, node in enumerate(graph.node):
        if not start <= at < stop:
            kept.node.append(node)
            continue
        kind = next((a for a in node.attribute if a.name == "shape" and len(a.tensors) == 1), None)
        if kind is not None and len(node.output) == 1:
            graph.input.add(name=node.output[0]).tensor.append(kind.tensors[0])
    read = {name for node in kept.node for name in node.input} | {output.name for output in graph.output}
    inputs = [leaf for leaf in graph.input if leaf.name in read]
    kept.input.extend(inputs)
    for field in ("node", "input"):
        graph.ClearField(field)
        getattr(graph, field).extend(getattr(kept, field))
    return message.SerializeToString(deterministic=True)
