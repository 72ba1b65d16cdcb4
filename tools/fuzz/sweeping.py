"""Every size and every whole number of the small graphs, one after the other, is another one: 0, 1, unknown, …

Types are made to agree again, so that most of these graphs are what MindSpore would have traced of another model, and
rewriting has to take them, or say why not. Nothing is drawn.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.cost.compare import DEFECT
from attnfuse.errors import SourceError
from attnfuse.mindir.schema import AttributeProto, ModelProto
from attnfuse.policy import Policy
from attnfuse.rewriting import rewrite
from attnfuse.targets import RUNTIMES, Target
from tools.fuzz import seeds
from tools.fuzz.agreeing import agree
from tools.fuzz.drawing import types
from tools.fuzz.outcomes import HangError, limits
from tools.fuzz.seeds import Seed

SIZES = (0, 1, -1, 2, 3, 17)
NUMBERS = (0, -1, 1, 2, 5)
_STRIDE = 97


@dataclass(frozen=True, slots=True)
class Changed:
    """A seed in which one thing is another; `make` writes it."""

    name: str
    change: str
    make: Callable[[], ModelProto]


def changed() -> Iterator[Changed]:
    """All of them, in the same order every time."""
    _, small, rules = seeds.groups()
    for seed in (*rules, *small):
        sound = seed.message()
        for old in sorted({dim for tensor in types(sound) for dim in tensor.dims}):
            for new in SIZES:
                if new != old:
                    yield Changed(seed.name, f"size {old} is {new}", partial(_with_size, seed, old, new))
        for at, node in enumerate(sound.graph.node):
            for place in range(len(_numbers(node.attribute[0]))) if node.op_type == "Constant" else ():
                for number in NUMBERS:
                    message = f"number {place} of constant {at} is {number}"
                    yield Changed(seed.name, message, partial(_with_number, seed, at, place, number))


def _with_number(seed: Seed, at: int, place: int, number: int) -> ModelProto:
    message = seed.message()
    _set(_numbers(message.graph.node[at].attribute[0])[place], number)
    return message


def _with_size(seed: Seed, old: int, new: int) -> ModelProto:
    message = seed.message()
    for tensor in types(message):
        tensor.dims[:] = [new if dim == old else dim for dim in tensor.dims]
    for node in message.graph.node:
        for number in _numbers(node.attribute[0]) if node.op_type == "Constant" else ():
            if old > 1 and list(number.ints) == [old]:
                number.ints[0] = new
    return message


def _numbers(value: AttributeProto) -> list[AttributeProto]:
    """The numbers of a constant: itself, or its elements."""
    held = list(value.values) or [value]
    return [one for one in held if len(one.ints) or len(one.floats) or one.HasField("i") or one.HasField("f")]


def _set(value: AttributeProto, number: int) -> None:
    if len(value.ints):
        value.ints[0] = number
    elif len(value.floats):
        value.floats[0] = float(number)
    elif value.HasField("i"):
        value.i = number
    else:
        value.f = float(number)


def in_turn(every: int = 1) -> list[Changed]:
    """Each `every`-th of them, far apart ones one after the other: where a sweep is stopped it has seen all graphs."""
    them = list(islice(changed(), 0, None, every))
    return [one for first in range(_STRIDE) for one in them[first::_STRIDE]]


def failures(them: Iterable[Changed]) -> Iterator[list[str]]:
    """For each of them, what rewriting does that it must not: anything but a result or a SourceError, in bounds."""
    passes = pass_manager.discover()
    for one in them:
        message = one.make()
        agree(message)
        data = message.SerializeToString(deterministic=True)
        component = Component(name="graph", owner="graph", where="it", data=data, graph_name="it.mindir")
        failed = ((runtime, _failure(component, Target(runtime, "ascend910b"), passes)) for runtime in RUNTIMES)
        yield [f"{one.name}, {one.change}, for {runtime}: {message}" for runtime, message in failed if message]


def _failure(component: Component, target: Target, passes: Sequence[pass_manager.Pass]) -> str:
    """What went wrong, and where; "" for nothing."""
    try:
        with limits(), warnings.catch_warnings():
            warnings.simplefilter("error")
            rewritten, _ = rewrite(component, Policy(), target, passes)
    except SourceError:
        return ""
    except (Exception, HangError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({last.filename.rpartition('/')[2]}:{last.lineno})"
    why = rewritten.cost.not_estimated
    return why if why.startswith(DEFECT) else ""
