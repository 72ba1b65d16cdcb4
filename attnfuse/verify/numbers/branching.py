"""Both graphs along the same paths, where an if or a while decides what runs.

Without given inputs the paths take every branch, and what is drawn is drawn for each. Given inputs decide for
themselves: the original's conditions are computed at its own types, and a branch that none of them takes is not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model, short_name
from attnfuse.ir.inline import inlined
from attnfuse.verify.graph import branches
from attnfuse.verify.graph.assigned import read_through
from attnfuse.verify.graph.branches import Choice, Decide, Path
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError
from attnfuse.verify.numbers.comparison import Side
from attnfuse.verify.numbers.data import DataSet


@dataclass(frozen=True, slots=True)
class Run:
    """Both graphs along one path, and the given inputs that take it; `fault` tells why the fused graph has none."""

    path: Path
    sides: tuple[Side, Side] | None
    sets: Sequence[DataSet]
    fault: str = ""


def have_branches(sides: tuple[Side, Side]) -> bool:
    """Whether one of the graphs decides what runs."""
    return any(branches.has_branches(side.model) for side in sides)


def runs(sides: tuple[Side, Side], sets: Sequence[DataSet]) -> Iterator[Run]:
    """The paths that are to be run. Raises VerificationError where a condition, or what it decides of, cannot be."""
    # Calls are taken away as a rewrite does it, so that both graphs call their values alike.
    before, after = (replace(side, model=inlined(side.model)) for side in sides)
    for path, chosen in _paths(before, sets):
        try:
            other = branches.along(after.model, branches.following(path.choices))
        except VerificationError as error:
            yield Run(path, None, chosen, str(error))
            continue
        if other.choices != path.choices:
            yield Run(path, None, chosen, "the fused graph decides less than the original")
            continue
        flat = Side(read_through(path.model), before.weights), Side(read_through(other.model), after.weights)
        yield Run(path, flat, chosen)


def not_taken(model: Model, taken: set[Choice]) -> list[str]:
    """The branches that no run took, in words."""
    rest = branches.branches(inlined(model)) - taken
    return [
        f"{short_name(choice.switch)} was never {str(choice.holds).lower()}: that branch was not run"
        for choice in sorted(rest, key=lambda choice: (choice.switch, choice.holds))
    ]


def _paths(original: Side, sets: Sequence[DataSet]) -> Iterator[tuple[Path, Sequence[DataSet]]]:
    if not sets:
        yield from ((path, ()) for path in branches.paths(original.model))
        return
    found: dict[tuple[Choice, ...], tuple[Path, list[DataSet]]] = {}
    for given in sets:
        path = branches.along(original.model, _computed(original, given))
        found.setdefault(path.choices, (path, []))[1].append(given)
    yield from found.values()


def _computed(original: Side, given: DataSet) -> Decide:
    def decide(switch: str, condition: str, graph: Callable[[], Model]) -> bool:
        try:
            (value,) = replace(original, model=read_through(graph())).run(Arithmetic.NATIVE, given.inputs)
        except UnsupportedOpError as error:
            raise VerificationError(f"the condition of {short_name(switch)} cannot be run: {error}.") from None
        if np.size(value) != 1:
            raise VerificationError(f"the condition of {short_name(switch)} is of {np.size(value)} elements.")
        return bool(np.reshape(value, -1)[0])

    return decide
