"""Mutants that are still fused, in numbers: what is written must compute what the mutant does.

A random spelling of attention (or a near miss) is changed by a few gentle edits, types made to agree, and rewritten by
all passes for one of the runtimes. The mutant as it was and what was made of it are then both computed by the tests'
NumPy interpreter (tests/support/oracle.py) in float64, which shares nothing with the passes nor with the lowering that
verification runs. A number makes the mutant, its inputs and the target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from random import Random
from typing import Any
from unittest import mock

import numpy as np

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.decisions import ASSUMPTION, SiteRecord
from attnfuse.errors import SourceError
from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, DType
from attnfuse.mindir.schema import ModelProto, TensorProto
from attnfuse.policy import CastName, Policy, Rule
from attnfuse.rewriting import Rewritten, rewrite
from attnfuse.targets import RUNTIMES, Target
from tests.support import oracle
from tests.support.forms import draw_form
from tests.support.laws import tolerance
from tests.support.mutations import EITHER_OR, MUST_REFUSE
from tests.support.oracle import Array
from tests.support.spellings import Spelling, spell
from tools.fuzz.agreeing import agree
from tools.fuzz.drawing import tensors, types
from tools.fuzz.edits import GENTLE
from tools.fuzz.mutants import edited

LARGEST = 1 << 18
"""Elements of a value: larger ones are not computed."""
UNKNOWN = 2
"""What a size is that is not known before run time."""
LONE = -400.0
"""A row whose scores are all below has no key: the numbers of masks are, and no bias is."""
SHOWN = 12
_MOST_EDITS = 2
_NEAR_MISSES = 0.2
_CASTS: tuple[CastName, ...] = ("float16", "bfloat16")

AGREES, DIFFERS = "agrees", "differs"
REFUSED, KEPT, UNCOMPUTED = "refused", "not fused", "not computed"


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of a mutant: `AGREES` or `DIFFERS` (also by a defect) where something is fused; else refused, nothing
    fused, or not computed, as the interpreter does not know an operator, the numbers leave the range of the type that
    policy casts to, or the mutant's own sizes contradict each other. `detail` says what."""

    number: int
    ended: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A mutant, and what is asked."""

    spelling: Spelling
    data: bytes
    edits: tuple[str, ...]
    target: Target
    cast: CastName


def make(number: int) -> Pair:
    """The mutant of that number."""
    random = Random(f"differing {number}")
    if random.random() < _NEAR_MISSES:
        spelling = spell(random, random.choice((*MUST_REFUSE, *EITHER_OR)))
    else:
        # Each row has a key: what comes of one without hangs on how it is computed, which the laws of spellings know.
        spelling = spell(random, form=replace(draw_form(random), no_fully_masked_rows=True))
    message = ModelProto()
    message.CopyFrom(spelling.proto)
    message, told = edited(f"differing {number}", message, GENTLE, random.randint(1, _MOST_EDITS))
    told += agree(message)
    data = message.SerializeToString(deterministic=True)
    return Pair(spelling, data, tuple(told), Target(random.choice(RUNTIMES), "ascend910b"), random.choice(_CASTS))


@cache
def _passes() -> tuple[pass_manager.Pass, ...]:
    return tuple(pass_manager.discover())


def compare(number: int) -> Compared:
    """Rewrite the mutant of that number, compute both, and tell."""
    pair = make(number)
    component = Component(name="unet", owner="unet", where="it", data=pair.data, graph_name="it.mindir")
    policy = Policy((Rule("*", "differing", force_cast_dtype=pair.cast),))
    try:
        rewritten, data = rewrite(component, policy, pair.target, _passes())
    except SourceError as error:
        return Compared(number, REFUSED, str(error))
    except Exception as error:
        return Compared(number, DIFFERS, f"{type(error).__name__}: {error}")
    fused = [site for site in rewritten.sites if site.status == "fused"]
    if not fused:
        return Compared(number, KEPT, rewritten.sites[0].code if rewritten.sites else "no site")
    original = codec.parse(pair.data, "it")
    if any(_size(tensor.dims) > LARGEST for tensor in types(original)):
        return Compared(number, UNCOMPUTED, "sizes that are too large")
    if any(dim < 0 for tensor in _held(original) for dim in tensor.dims):
        return Compared(number, UNCOMPUTED, "constants of unknown sizes")
    inputs = _inputs(Model(original), pair.spelling.inputs, np.random.default_rng(number))
    if inputs is None:
        return Compared(number, UNCOMPUTED, "inputs that are no tensors")
    overflow = _Overflow()
    try:
        with mock.patch.object(oracle, "in_range", overflow):
            values = oracle.values(Model(original), inputs)
        wanted = oracle.run(Model(codec.parse(pair.data, "it")), inputs)
    except Exception as error:  # a mutant may be anything; what it is worth, only another reading could tell
        return Compared(number, UNCOMPUTED, f"{type(error).__name__}: {error}"[:200])
    if any(site.casts and site.compute_dtype == "float16" for site in fused) and _beyond(values, FLOAT16):
        return Compared(number, UNCOMPUTED, "numbers beyond the range of the type that policy casts to")
    made = Model(codec.parse(data, "it"))
    try:
        found = oracle.run(made, inputs)
        lone = [np.zeros_like(one, bool) for one in found]
        if any(obligation.kind == ASSUMPTION for site in fused for obligation in site.obligations):
            lone = _lone(made, inputs, found)
    except KeyError as error:
        return Compared(number, UNCOMPUTED, f"KeyError: {error}")
    except Exception as error:
        return Compared(number, DIFFERS, f"what was written cannot be computed: {type(error).__name__}: {error}")
    wrong = _wrong(wanted, found, lone, _within(rewritten, fused))
    if wrong and overflow.seen:
        return Compared(number, UNCOMPUTED, "numbers beyond the range of their type")
    return Compared(number, DIFFERS if wrong else AGREES, wrong)


class _Overflow:
    """`oracle.in_range`, which notes whether a number became infinite, which it would not have in another order of
    sums, or is +∞, which no mask hides keys with."""

    def __init__(self) -> None:
        self._in_range = oracle.in_range
        self.seen = False

    def __call__(self, value: Array, dtype: DType) -> Array:
        result = self._in_range(value, dtype)
        if result.dtype.kind == "f":
            self.seen |= bool(np.isposinf(result).any() or (np.isinf(result) & np.isfinite(value)).any())
        return result


def _held(message: ModelProto) -> Iterator[TensorProto]:
    """The tensors that constants hold."""
    for node in message.graph.node:
        if node.op_type == CONSTANT:
            for attribute in node.attribute:
                yield from tensors(attribute)


def _size(dims: Sequence[int]) -> int:
    return prod(UNKNOWN if dim < 0 else dim for dim in dims)


def _inputs(model: Model, given: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array] | None:
    """Numbers for each input: those of the spelling where it still has their sizes, others of its type elsewhere; None
    where one is no tensor."""
    prefix, found = f"{model.proto.graph.name}:", {}
    for leaf in model.proto.graph.input:
        name, tensor = leaf.name.removeprefix(prefix), model.type_of(leaf.name)
        if tensor is None:
            return None
        dims = tuple(UNKNOWN if dim < 0 else dim for dim in tensor.dims)
        same = name in given and given[name].shape == dims and (given[name].dtype == np.bool_) == (tensor.dtype == BOOL)
        found[name] = given[name] if same else _drawn(dims, tensor.dtype, rng)
    return found


def _drawn(dims: tuple[int, ...], dtype: DType, rng: np.random.Generator) -> Array:
    """Booleans of which the first along the last axis is False, so that a mask leaves each row a key."""
    if dtype.is_float:
        return (rng.standard_normal(dims) * 0.6).astype(BFLOAT16.numpy).astype(np.float64)
    if dtype != BOOL:
        return rng.integers(0, 2, dims).astype(dtype.numpy)
    numbers: Array = np.asarray(rng.random(dims) < 0.4)
    if dims:
        numbers[..., :1] = False
    return numbers


def _beyond(values: Mapping[str, Any], dtype: DType) -> bool:
    """Whether any number that the mutant comes to is beyond the range of a type, and finite."""
    arrays = (np.asarray(value) for value in values.values() if isinstance(value, np.ndarray | float))
    floats = (np.abs(array[np.isfinite(array)]) for array in arrays if array.dtype.kind == "f")
    return any(bool((array > dtype.largest).any()) for array in floats)


def _lone(made: Model, inputs: Mapping[str, Array], found: Sequence[Array]) -> list[Array]:
    """Which numbers of the outputs come of a row that no key is left to: those that such rows make NaN."""

    def attention(query: Array, key: Array, value: Array, scale: float, **masks: Array | None) -> Array:
        result = whole(query, key, value, scale, **masks)
        highest = oracle.masked_scores(query, key, scale, **masks).max(axis=-1, keepdims=True)
        return np.where(highest > LONE, result, np.nan)

    whole = oracle.attention
    with mock.patch.object(oracle, "attention", attention):
        marked = oracle.run(made, inputs)
    return [np.isnan(one) & ~np.isnan(other) for one, other in zip(marked, found, strict=True)]


def _within(rewritten: Rewritten, fused: Sequence[SiteRecord]) -> float:
    """How far numbers may be off, beside what is 1: what the laws of spellings allow, and what was simplified."""
    return max(map(tolerance, fused)) + sum(entry.error for entry in rewritten.simplified)


def _wrong(wanted: Sequence[Array], found: Sequence[Array], lone: Sequence[Array], within: float) -> str:
    if len(wanted) != len(found):
        return f"{len(found)} outputs in place of {len(wanted)}"
    for at, (one, other, out) in enumerate(zip(wanted, found, lone, strict=True)):
        if np.shape(one) != np.shape(other):
            return f"output {at} is of shape {np.shape(other)} in place of {np.shape(one)}"
        left, right = (np.asarray(array)[~out].astype(np.float64) for array in (one, other))
        close = np.isclose(right, left, rtol=within, atol=within, equal_nan=True)
        if not close.all():
            first = int(np.argmin(close))
            return (
                f"output {at}: {int((~close).sum())} of {close.size} numbers differ, such as {right[first]:.6g} "
                f"in place of {left[first]:.6g}, {within:.1e} allowed"
            )
    return ""


def tell(first: int, count: int) -> int:
    """Compare mutants until so many are fused and were computed, and tell what came of all; 1 where one differs."""
    ended: Counter[str] = Counter()
    why: Counter[str] = Counter()
    number = first
    while ended[AGREES] + ended[DIFFERS] < count:
        result = compare(number)
        ended[result.ended] += 1
        if result.ended == DIFFERS:
            print(f"mutant {number}: {result.detail}", flush=True)
        elif result.ended == UNCOMPUTED:
            why[result.detail[:60]] += 1
        number += 1
    print(f"{number - first} mutants from {first}")
    print("\n".join(f"{times:>7}  {what}" for what, times in ended.most_common()))
    print("\n".join(f"{times:>7}  {UNCOMPUTED}: {what}" for what, times in why.most_common(SHOWN)))
    return 1 if ended[DIFFERS] else 0
