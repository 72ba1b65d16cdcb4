"""Inputs to run a component on: drawn once per seed, of the kind each input's type, name and readers ask for."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.questions import ELEMENTS, role, source
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.verify.graph.known import number_of
from attnfuse.verify.graph.readers import Needs, needs
from attnfuse.verify.names import leaf_name

TIMESTEPS = 1000
"""Diffusion schedules count their steps below this."""


_FILLS = {"left": "lowest", "right": "-inf", "single": "-10000", "none": "lowest", "empty": "-inf"}
"""What hides a key in a row of that pattern where the mask is added to the scores; "lowest" is the type's own."""

_NEAR = 0.1
"""How far drawn numbers stay from one that they are divided by zero at."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How masks and lengths are drawn: the patterns of their rows in turn, and what to call that.

    Of a mask of 0 and 1: "left" starts with zeros, "right" ends with them, "single" has one 1, "other" one 0, "holes"
    both at random, "none" and "empty" only zeros, "all" only ones; "open" starts with 1 and ends with 0, at random
    between. Which of the two numbers hides a key is the graph's affair, so each pattern but "holes" has its opposite
    here. Of a mask that is added, a row of "none" holds the type's lowest number, one of "empty" −inf.
    """

    label: str
    patterns: tuple[str, ...]


OPEN = Draw("masks, if any, hide and show keys in each row", ("open",))
"""Leaves no row of a mask fully masked, whichever way round it is meant."""
PADDED = Draw("masks padded left and right", ("left", "right", "single", "holes"))
HIDDEN = Draw("masks hidden and seen whole", ("none", "all"))
EMPTY = Draw("masks of −inf in whole rows", ("empty", "open"))
"""For masks that are added: a row of the lowest number means the mean of value, and one of −inf is not a number."""

_KEPT = ("left", "right", "single", "other", "holes")


def telling_draws(model: Model) -> tuple[Draw, ...]:
    """Draws that show every pattern in the mask or length with the fewest rows; none where there is neither."""
    rows = _fewest_rows(model)
    if rows is None:
        return ()
    empty = _in_turns("empty", EMPTY.patterns, rows) if _has_added_mask(model) else ()
    return (*_in_turns("masks", _KEPT, rows), *_in_turns("hidden", HIDDEN.patterns, rows), *empty)


def whole_draws(model: Model) -> tuple[Draw, ...]:
    """Draws for a whole graph, which takes long: two where there are masks or lengths, else one; three where a mask is
    added as it is."""
    if _fewest_rows(model) is None:
        return (OPEN,)
    return (PADDED, HIDDEN, EMPTY) if _has_added_mask(model) else (PADDED, HIDDEN)


def sampled_draws(model: Model) -> tuple[Draw, ...]:
    """Draws for a whole graph that is run on little: one, which leaves each row a key; and where the graph tells NaN
    from numbers, as a fully masked row has it, one with such rows."""
    fully_masked = whole_draws(model)[-1]
    return (OPEN, fully_masked) if fully_masked is not OPEN and _tells_nan(model) else (OPEN,)


def _tells_nan(model: Model) -> bool:
    """Whether some node does: by its operator, or by comparing a value with itself."""
    return any(
        role(node) is Role.NAN_TEST
        or node.op in ("IsFinite", "NanToNum")
        or (node.op in ("Equal", "NotEqual") and len(set(node.inputs)) == 1)
        for node in model.nodes
    )


def _has_added_mask(model: Model) -> bool:
    for value in model.proto.graph.input:
        tensor_type = model.type_of(value.name)
        if tensor_type is not None and tensor_type.dtype.is_float:
            asked, name = needs(model, value.name), leaf_name(value.name).lower()
            if asked.additive and _is_mask(name, tensor_type, asked):
                return True
    return False


def _in_turns(label: str, patterns: Sequence[str], rows: int) -> list[Draw]:
    turns = range(0, len(patterns), max(rows, 1))
    return [Draw(f"{label} {n}", (*patterns[at:], *patterns[:at])) for n, at in enumerate(turns, 1)]


def _fewest_rows(model: Model) -> int | None:
    found = []
    for value in model.proto.graph.input:
        tensor_type = model.type_of(value.name)
        if tensor_type is not None:
            asked, name = needs(model, value.name), leaf_name(value.name).lower()
            if _is_length(name, tensor_type, asked):
                found.append(tensor_type.size)
            elif _is_mask(name, tensor_type, asked) or asked.weighs:
                found.append(math.prod(tensor_type.dims[:-1]))
    return min(found, default=None)


def draw_inputs(model: Model, seed: int, how: Draw = OPEN) -> dict[str, Array]:
    """A value per graph input, by its name, in its declared type.

    Latents and embeddings are normal, or lie where the operators that read them are defined; time steps are whole
    numbers below 1000; masks 0 and 1 (or false and true), or 0 and what hides a key where they are added to scores;
    lengths are those of the rows that `how` asks for; whole numbers that look something up stay within the table. Same
    seed, same draw, same names: the same numbers.
    Raises VerificationError where a size is not known, or an input is no tensor.
    """
    drawn = {}
    for value in model.proto.graph.input:
        name, tensor_type = leaf_name(value.name), model.type_of(value.name)
        if tensor_type is None:
            raise VerificationError(
                f"input {name} is no tensor of a known type, and nothing can be drawn for it: export the graph with "
                "each tensor as an input of its own, or use --verify static."
            )
        if not tensor_type.is_static:
            raise VerificationError(
                f"input {name} is {tensor_type}, and its sizes must be known to run the graph: give inputs with "
                "--data, or use --verify static."
            )
        drawn[value.name] = _draw(model, value.name, tensor_type, seed, how)
    return drawn


def _draw(model: Model, value: str, tensor_type: TensorType, seed: int, how: Draw) -> Array:
    name, asked = leaf_name(value).lower(), needs(model, value)
    generator = np.random.Generator(np.random.Philox(zlib.crc32(f"{seed}:{name}".encode())))
    dims = tensor_type.dims
    if _is_length(name, tensor_type, asked):
        return _lengths(asked.span or 1, dims, how, generator).astype(tensor_type.dtype.numpy)
    if _is_mask(name, tensor_type, asked):
        return _mask(name, tensor_type, asked, how, generator)
    if "timestep" in name or name in ("t", "time"):
        if tensor_type.dtype.is_float and _is_multiplied(model, value):
            return generator.uniform(0.0, 1.0, dims).astype(tensor_type.dtype.numpy)
        return generator.integers(1, TIMESTEPS, dims).astype(tensor_type.dtype.numpy)
    if not tensor_type.dtype.is_float:
        if "position" in name:  # positions run on in order, as a text encoder gets them
            return np.broadcast_to(np.arange(dims[-1] if dims else 1), dims).astype(tensor_type.dtype.numpy)
        low = 0 if asked.low == -math.inf and 0.0 not in asked.avoid else max(1, math.floor(asked.low) + 1)
        return generator.integers(low, max(asked.rows or 2, low + 1), dims).astype(tensor_type.dtype.numpy)
    numbers = _numbers(dims, asked, generator)
    if asked.weighs and how is not OPEN:
        numbers = np.where(_rows(dims, how, generator), numbers, 0.0)
    return numbers.astype(tensor_type.dtype.numpy)


# --- numbers


def _numbers(dims: tuple[int, ...], asked: Needs, generator: np.random.Generator) -> Array:
    """Normal numbers; or of an interval, near its one end where it has no other."""
    low, high = asked.low, asked.high
    if low == -math.inf and high == math.inf:
        numbers = generator.standard_normal(dims)
        for number in asked.avoid:
            off = numbers - number
            numbers = np.where(np.abs(off) < _NEAR, number + np.copysign(_NEAR, off), numbers)
        return numbers
    share = generator.uniform(0.05, 0.95, dims)
    if math.inf in (high, -low):
        return low + share if high == math.inf else high - share
    return low + (high - low) * share


# --- masks and lengths


def _is_length(name: str, tensor_type: TensorType, asked: Needs) -> bool:
    """Whole numbers, or numbers one a row, that are compared with positions and are no positions themselves."""
    counted = tensor_type.rank < 2 if tensor_type.dtype.is_float else tensor_type.dtype is not dtypes.BOOL
    other = asked.condition or asked.rows is not None or "mask" in name or "position" in name
    return counted and asked.span is not None and not other


def _is_mask(name: str, tensor_type: TensorType, asked: Needs) -> bool:
    if tensor_type.dtype is dtypes.BOOL:
        return True
    if "mask" in name.replace("masked", ""):
        return asked.low <= 0.0 and asked.high >= 1.0
    if tensor_type.dtype.is_float:
        return asked.additive or asked.condition
    return asked.condition and asked.rows is None and "position" not in name and "timestep" not in name


def _mask(name: str, tensor_type: TensorType, asked: Needs, how: Draw, generator: np.random.Generator) -> Array:
    """0 and 1; or, where it is added to scores as it is, numbers that hide and numbers that do not."""
    seen = _rows(tensor_type.dims, how, generator)
    if not (asked.additive and tensor_type.dtype.is_float):
        return seen.astype(tensor_type.dtype.numpy)
    named = "mask" in name
    numbers = np.zeros(tensor_type.dims) if named else generator.standard_normal(tensor_type.dims)
    if how is OPEN and not named:
        return numbers.astype(tensor_type.dtype.numpy)  # a bias may hide nothing at all
    with np.errstate(over="ignore"):
        return np.where(seen, numbers, _fills(tensor_type, how)).astype(tensor_type.dtype.numpy)


def _fills(tensor_type: TensorType, how: Draw) -> Array:
    """What hides a key, for each row."""
    lowest = -tensor_type.dtype.largest
    numbers = {"lowest": lowest, "-inf": -math.inf, "-10000": -1e4}
    rows = math.prod(tensor_type.dims[:-1])
    fills = [numbers[_FILLS.get(how.patterns[row % len(how.patterns)], "lowest")] for row in range(rows)]
    return np.array(fills).reshape((*tensor_type.dims[:-1], 1)) if tensor_type.dims else np.array(fills[0])


def _rows(dims: tuple[int, ...], how: Draw, generator: np.random.Generator) -> Array:
    """Ones where the pattern of a row has them, as truth values."""
    holes = generator.integers(0, 2, dims).astype(np.bool_)
    size = dims[-1] if dims else 1
    rows = np.array(holes).reshape(-1, size)
    for row in range(len(rows)):
        pattern = how.patterns[row % len(how.patterns)]
        if size < 2:
            rows[row] = pattern not in ("none", "empty")
        else:
            _fill_row(rows[row], pattern, int(generator.integers(0, size)) if pattern in _PLACED else 0)
    return rows.reshape(dims)


_PLACED = ("single", "other")


def _fill_row(row: Array, pattern: str, place: int) -> None:
    """Write a row of two elements or more; at first it holds both at random."""
    size = len(row)
    if pattern == "open":
        row[0], row[-1] = True, False
    elif pattern in ("left", "right"):
        padding = max(1, size * 3 // 8)
        row[:] = True
        row[:padding] = False
        if pattern == "right":
            row[:] = row[::-1].copy()
    elif pattern in _PLACED:
        row[:] = pattern == "other"
        row[place] = pattern == "single"
    elif pattern in ("none", "empty", "all"):
        row[:] = pattern == "all"


def _lengths(span: int, dims: tuple[int, ...], how: Draw, generator: np.random.Generator) -> Array:
    """Between 0 and `span`, different from row to row."""
    count = math.prod(dims)
    random = generator.permutation(np.arange(1, max(span, 2)))
    padded = max(1, span * 3 // 8)
    known = {"left": span - padded, "right": padded, "single": 1, "other": span - 1, "none": 0, "empty": 0, "all": span}
    patterns = (how.patterns[row % len(how.patterns)] for row in range(count))
    lengths = [known.get(pattern, int(random[row % len(random)])) for row, pattern in enumerate(patterns)]
    return np.array(lengths, np.int64).reshape(dims)


# --- time steps


def _is_multiplied(model: Model, value: str) -> bool:
    """Whether the graph itself multiplies the time by the number of steps, or more, as it then counts from 0 to 1.

    Flow matching does; Stable Cascade multiplies its ratio by 10000, which float16 does not hold of a number of steps.
    """
    stack = [value]
    while stack:
        reached = stack.pop()
        for use in model.uses(reached):
            node = use.node
            if node is None:
                continue
            if use.position == 0 and node.op in ("Muls", "Mul") and model.is_literal(node.inputs[1]):
                return (_number(model.literal(node.inputs[1])) or 0) >= TIMESTEPS
            if source(node, ELEMENTS) == reached:
                stack.append(node.name)
    return False


def _number(literal: Literal) -> float | None:
    """A constant number, as a scalar or an array of one element."""
    return None if isinstance(literal, np.ndarray) and literal.size != 1 else number_of(literal)
