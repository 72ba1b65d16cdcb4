"""Every size and every whole number of the small graphs, one after the other, is another one: 0, 1, unknown, …

Types are made to agree again, so that most of these graphs are what MindSpore would have traced of another model, and
rewriting has to take them, or say why not. Nothing is drawn.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from attnfuse import pass_manager
from attnfuse.errors import SourceError
from attnfuse.mindir.schema import AttributeProto, ModelProto
from attnfuse.policy import Policy
from attnfuse.rewriting import rewrite
from attnfuse.sources import Component
from attnfuse.targets import RUNTIMES, Target
from tools.fuzz import seeds
from tools.fuzz.agreeing import agree
from tools.fuzz.drawing import types
from tools.fuzz.seeds import Seed

SIZES = (0, 1, -1, 2, 3, 17)
NUMBERS = (0, -1, 1, 2, 5)


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


def failures(every: int = 1) -> Iterator[str]:
    """What rewriting does to each `every`-th of them that it must not: anything but a result or a SourceError."""
    passes = pass_manager.discover()
    for one in islice(changed(), 0, None, every):
        message = one.make()
        agree(message)
        data = message.SerializeToString(deterministic=True)
        component = Component(name="graph", owner="graph", where="it", data=data, graph_name="it.mindir")
        for runtime in RUNTIMES:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    rewrite(component, Policy(), Target(runtime, "ascend910b"), passes)
            except SourceError:
                continue
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                told = f"{type(error).__name__}: {error} ({last.filename.rpartition('/')[2]}:{last.lineno})"
                yield f"{one.name}, {one.change}, for {runtime}: {told}"
