"""Chunks of keys whose scores are masked: whether all of them together are one softmax in every row.

Each chunk has a number subtracted that is the largest score there is so far, or should be. Two rows are no softmax's:

* one in which that number is −∞, as all keys of the chunk are masked by it: −∞ − −∞ is no number, while a softmax over
  all keys has others left;
* one in which it is far above every score, as it began at a number and all keys are masked by a lower one: all
  exponentials are 0, and 0 / 0 is no number, while a softmax gives the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from attnfuse.api import DType, Model, takes_element
from attnfuse_passes.attention.hiding import ABSORBING
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.rows import reduction
from attnfuse_passes.attention.identities.steps import Convert, Same, Step
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.restated.parts import Scores
from attnfuse_passes.attention.uniform import uniform

_DEPTH = 256


def is_one_softmax(
    model: Model,
    known: ConstantFolder,
    parts: Mapping[str, Scores],
    shifts: Iterable[tuple[str, str]],
    *,
    are_cut: bool,
) -> bool:
    """Whether it is. `parts` are the chunks by the values that hold their scores, `shifts` those values and what
    is subtracted from each. `are_cut`: each is cut of scores of all keys, which the part is about."""
    if not any(part.terms or part.fills for part in parts.values()):
        return True
    lowest = [_lowest(known, part) for part in parts.values()]
    keeps_a_key = {name for name, part in parts.items() if _keeps_a_key(known, part, are_cut=are_cut)}
    for scores, shift in shifts:
        found = [*_largest_of(model, shift)]
        numbers = [number for number in found if isinstance(number, float) and number != -math.inf]
        others = {name for name in found if isinstance(name, str)}
        if None in found or math.inf in numbers or scores not in others or not others <= parts.keys():
            return False
        if not numbers and not others & keeps_a_key:
            return False
        if numbers and any(low is None or low < max(numbers) for low in lowest):
            return False
    return True


def _largest_of(model: Model, value: str) -> Iterator[float | str | None]:
    """Of what a value is the largest in each row: numbers, and values that hold scores; None for anything else."""
    pending = [value]
    for _ in range(_DEPTH):
        if not pending:
            return
        at = pending.pop()
        number, node = uniform(model, at), model.producer(at)
        if number is not None:
            yield number
            continue
        if node is None:
            yield None
            return
        if node.op == "Maximum":
            pending += node.inputs
            continue
        made = reduction(model, at) if takes_element(node) or node.op == "ReduceMax" else None
        if made is not None:
            tensor_type = model.type_of(made.of)
            is_last = tensor_type is not None and made.axes == (tensor_type.rank - 1,) and made.keeps
            yield made.of if is_last and made.kind == "max" else None
            continue
        step = read_back(model, at, SitePart.VALUE)
        if step is None or not isinstance(step.effect, Same | Convert) or not _keeps_digits(model, step):
            yield None
            return
        pending.append(step.input)
    yield None


def _keeps_digits(model: Model, step: Step) -> bool:
    """Whether the type behind holds what the one in front does: the largest of a masked row may be far from others."""
    types = model.type_of(step.input), model.type_of(step.node.name)
    if types[0] is None or types[1] is None:
        return False
    before, after = types[0].dtype, types[1].dtype
    return after.largest >= before.largest and after.unit_roundoff <= before.unit_roundoff


def _lowest(known: ConstantFolder, part: Scores) -> float | None:
    """A finite number below which no mask of the chunk takes a score; 0 where it has none, None where that is not
    known. What −∞ masks is out of every softmax alike."""
    added = 0.0
    for term in part.terms:
        numbers = _numbers(known, term)
        if numbers is None:
            return None
        added += min((x for x in numbers if math.isfinite(x)), default=0.0)
    # Twice as low, as a score is added to it, unless that is lost in it.
    added = added if added <= ABSORBING else 2.0 * added
    return added if part.fill is None or math.isinf(part.fill) else min(added, part.fill)


def _numbers(known: ConstantFolder, term: tuple[str, float]) -> list[float] | None:
    """The numbers that are added."""
    numbers = known.possible(term[0])
    return None if numbers is None else [x * term[1] for x in numbers]


def _keeps_a_key(known: ConstantFolder, part: Scores, *, are_cut: bool) -> bool:
    """Whether every row of the chunk has a score that is not −∞."""
    hides, limit = part.fill == -math.inf, _limit(part.dtype)
    if not part.terms and not hides:
        return True
    sets = [_numbers(known, term) for term in part.terms]
    if not hides and sum(-math.inf if numbers is None else min(numbers) for numbers in sets) > limit:
        return True
    if are_cut or len(part.terms) + (len(part.fills) if hides else 0) != 1:
        return False
    value = part.terms[0][0] if part.terms else part.fills[0][0]
    constant = known.value(value)
    if constant is None or not constant.ndim:
        return False
    if part.terms:
        kept = constant.astype(np.float64) * part.terms[0][1] > limit
    else:
        kept = constant.astype(np.bool_) != part.fills[0][1]
    return bool(kept.any(axis=-1).all())


def _limit(dtype: DType) -> float:
    """What is added may be no lower, or the sum with a score may be −∞: not far beyond what float16 holds."""
    return -math.inf if dtype.largest >= -ABSORBING else -0.95 * dtype.largest
