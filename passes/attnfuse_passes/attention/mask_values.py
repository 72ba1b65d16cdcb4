"""What is known of a mask's numbers before run time: its whole value, or the set its elements come from.

Two questions decide how a mask may be handed to a fused node: is it a constant (then it is computed here, once), and
if not, which numbers can its elements take (0 and −10000? 0 and the smallest float32?). Both are answered by
following the few operators masks are made of; any other operator makes the answer "not known", never a guess.

A weight is as good as a constant where its values are at hand and nothing in the graph writes to it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.api import (
    ELEMENTS,
    SEQUENCES,
    Effects,
    Model,
    Node,
    NotALiteralError,
    WeightReader,
    changed,
    dtypes,
    hands,
    makes_tuple,
    no_weights,
    source,
)
from attnfuse_passes.attention.uniform import uniform

Array: TypeAlias = npt.NDArray[np.generic]
Numbers: TypeAlias = frozenset[float]

MAX_ELEMENTS = 1 << 26  # 64 Mi elements: the mask of a sequence of 8192
MAX_NUMBERS = 4096  # the table of relative positions of T5-XXL has 2048 elements
MAX_PAIRS = 1 << 16
MAX_DEPTH = 64


class ConstantFolder:
    """Evaluates mask arithmetic on constants with numpy, in the operators' own element types.

    With a reader of `weights` their values count as constants too. Values of more than `largest` elements are not
    computed.
    """

    def __init__(
        self, model: Model, effects: Effects, weights: WeightReader = no_weights, *, largest: int = MAX_ELEMENTS
    ) -> None:
        self._model = model
        self._effects = effects
        self._weights = weights
        self.largest = largest
        self._known: dict[str, Array | None] = {}
        self._sets: dict[str, Numbers | None] = {}

    def value(self, name: str, depth: int = MAX_DEPTH) -> Array | None:
        """The constant a value is equal to at every run, or None."""
        if name not in self._known:
            self._known[name] = None  # a value being evaluated is not known; also the answer on failure
            self._known[name] = self._evaluate(name, depth)
        return self._known[name]

    def _evaluate(self, name: str, depth: int) -> Array | None:
        model = self._model
        if depth == 0 or not self._effects.is_never_mutated(model, name):
            return None
        if model.is_parameter(name):
            return self._weights(name)
        node = model.producer(name)
        if node is None:
            return None
        try:
            literal = model.literal(name)
        except NotALiteralError:
            pass
        else:
            return literal if isinstance(literal, np.ndarray) else None
        tensor_type = model.type_of(name)
        rule = _same_order if hands(node) in SEQUENCES else _FOLD.get(node.op)
        if tensor_type is None or not tensor_type.is_static or tensor_type.size > self.largest:
            return None
        everywhere = uniform(model, name)
        if everywhere is not None:
            return np.full(tensor_type.dims, everywhere, tensor_type.dtype.numpy)
        if rule is None:
            return None
        try:
            # An overflow to infinity is what the operator itself would give.
            with np.errstate(all="ignore"):
                result = rule(self, node, depth - 1)
        except (NotALiteralError, ValueError, IndexError, TypeError):
            return None
        if result is None or result.shape != tensor_type.dims:
            return None
        return result.astype(tensor_type.dtype.numpy)

    def operand(self, name: str, depth: int) -> Array:
        """A tensor or scalar operand. Raises NotALiteralError where it is no constant."""
        try:
            literal = self._model.literal(name)
            if isinstance(literal, bool | int | float):
                return np.array(literal)
        except NotALiteralError:
            pass
        found = self.value(name, depth)
        if found is None:
            raise NotALiteralError(name)
        return found

    def numbers(self, name: str) -> tuple[int, ...]:
        """A literal integer or tuple of integers. Raises NotALiteralError otherwise."""
        literal = self._model.literal(name)
        items = literal if isinstance(literal, tuple) else (literal,)
        integers = tuple(int(i) for i in items if isinstance(i, int))
        if len(integers) != len(items):
            raise NotALiteralError(name)
        return integers

    def _input_set(self, node: Node, position: int, depth: int) -> Numbers | None:
        """The set of an input; the buffer of an in-place operator is read by it alone, before the change."""
        name = node.inputs[position]
        if name in changed(self._model, node):
            effects = self._effects.without(name)
            before = ConstantFolder(self._model, effects, self._weights, largest=self.largest)
            return before.possible(name, depth)
        return self.possible(name, depth)

    def possible(self, name: str, depth: int = MAX_DEPTH) -> Numbers | None:
        """The finite set the elements of a value come from, or None where it is not known.

        Sets are closed under rounding: each number is one of the value's own element type. NaN never appears: an
        expression that could make one from the set is not known.
        """
        if name not in self._sets:
            self._sets[name] = None
            self._sets[name] = self._possible(name, depth)
        return self._sets[name]

    def _possible(self, name: str, depth: int) -> Numbers | None:
        model = self._model
        try:
            literal = model.literal(name)
        except NotALiteralError:
            pass
        else:
            if isinstance(literal, bool | int | float):
                return frozenset((float(literal),))
        everywhere = uniform(model, name)
        if everywhere is not None:
            return frozenset((everywhere + 0.0,))
        tensor_type, node = model.type_of(name), model.producer(name)
        if tensor_type is None or depth == 0 or not self._effects.is_never_mutated(model, name):
            return None
        constant = self.value(name)
        if constant is not None:
            return _bounded(np.unique(constant.astype(np.float64)).tolist())
        if tensor_type.dtype is dtypes.BOOL:
            return frozenset((0.0, 1.0))
        if node is None:
            return None
        handed_on = source(node, ELEMENTS)
        if handed_on is not None:
            sets = [self.possible(handed_on, depth - 1)]
        elif (positions := _SET_SOURCES.get(node.op)) is not None:
            sets = [self._input_set(node, i, depth - 1) for i in positions]
        else:
            return None
        if any(s is None for s in sets):
            return None
        known = [s for s in sets if s is not None]
        if node.op in _ARITHMETIC:
            function = _ARITHMETIC[node.op]
            if len(known[0]) * len(known[1]) > MAX_PAIRS:
                return None
            numbers = {_guarded(function, x, y) for x in known[0] for y in known[1]}
        else:
            numbers = {x for s in known for x in s}
        with np.errstate(all="ignore"):
            return _bounded(
                [np.asarray(x).astype(tensor_type.dtype.numpy).astype(np.float64).item() for x in sorted(numbers)]
            )


FoldRule: TypeAlias = Callable[[ConstantFolder, Node, int], Array | None]


def _binary(function: Callable[[Array, Array], Array]) -> FoldRule:
    def rule(fold: ConstantFolder, node: Node, depth: int) -> Array:
        a, b = (fold.operand(name, depth) for name in node.inputs[:2])
        # A Python scalar takes the tensor's type (numpy 1.26 would widen a 0-d float64 array by itself).
        if a.ndim == 0 and b.ndim and a.dtype.kind == b.dtype.kind:
            a = a.astype(b.dtype)
        if b.ndim == 0 and a.ndim and a.dtype.kind == b.dtype.kind:
            b = b.astype(a.dtype)
        return np.asarray(function(a, b))

    return rule


def _with_alpha(function: Callable[[Array, Array], Array]) -> FoldRule:
    """a + α·b; only an α of 1 is read."""
    plain = _binary(function)

    def rule(fold: ConstantFolder, node: Node, depth: int) -> Array | None:
        return plain(fold, node, depth) if fold.numbers(node.inputs[2]) == (1,) else None

    return rule


def _cast(fold: ConstantFolder, node: Node, depth: int) -> Array | None:
    target = dtypes.from_type_id(fold.numbers(node.inputs[1])[0])
    return None if target is None else fold.operand(node.inputs[0], depth).astype(target.numpy)


def _same_order(fold: ConstantFolder, node: Node, depth: int) -> Array | None:
    tensor_type = fold._model.type_of(node.name)
    return None if tensor_type is None else fold.operand(node.inputs[0], depth).reshape(tensor_type.dims)


def _broadcast(fold: ConstantFolder, node: Node, depth: int) -> Array | None:
    tensor_type = fold._model.type_of(node.name)
    return None if tensor_type is None else np.broadcast_to(fold.operand(node.inputs[0], depth), tensor_type.dims)


def _triangle(function: Callable[..., Array]) -> FoldRule:
    def rule(fold: ConstantFolder, node: Node, depth: int) -> Array:
        diagonal = fold.numbers(node.inputs[1])[0] if len(node.inputs) > 1 else 0
        return function(fold.operand(node.inputs[0], depth), diagonal)

    return rule


def _slice(fold: ConstantFolder, node: Node, depth: int) -> Array | None:
    """StridedSlice without new or dropped axes; mask bit i frees the bound of axis i."""
    array = fold.operand(node.inputs[0], depth)
    begin, end, stride = (fold.numbers(name) for name in node.inputs[1:4])
    begin_mask, end_mask, ellipsis, new, shrink = (fold.numbers(name)[0] for name in node.inputs[4:9])
    if ellipsis or new or shrink or not len(begin) == len(end) == len(stride) <= array.ndim:
        return None
    index = tuple(
        slice(None if begin_mask >> i & 1 else begin[i], None if end_mask >> i & 1 else end[i], stride[i])
        for i in range(len(begin))
    )
    return array[index]


def _joined(fold: ConstantFolder, node: Node, depth: int) -> Array | None:
    parts = fold._model.producer(node.inputs[0])
    if parts is None or not makes_tuple(parts):
        return None
    return np.concatenate([fold.operand(name, depth) for name in parts.inputs], fold.numbers(node.inputs[1])[0])


def _put(fold: ConstantFolder, node: Node, depth: int) -> Array | None:
    """x with values in places, each a coordinate of the first axes; of equal places none is told which one counts."""
    array, places, values = (fold.operand(name, depth) for name in node.inputs[:3])
    coordinates = places.reshape(-1, places.shape[-1]).astype(np.int64)
    sizes = np.array(array.shape[: places.shape[-1]])
    is_within = (coordinates >= 0).all() and (coordinates < sizes).all()
    if not is_within or len(np.unique(coordinates, axis=0)) != len(coordinates):
        return None
    result = array.copy()
    result[tuple(np.moveaxis(places, -1, 0))] = values
    return result


_FOLD: dict[str, FoldRule] = {
    "Add": _binary(np.add),
    "AddExt": _with_alpha(np.add),
    "Sub": _binary(np.subtract),
    "SubExt": _with_alpha(np.subtract),
    "Mul": _binary(np.multiply),
    "Muls": _binary(np.multiply),
    "Div": _binary(np.true_divide),
    "RealDiv": _binary(np.true_divide),
    "Divs": _binary(np.true_divide),
    "Less": _binary(np.less),
    "LessScalar": _binary(np.less),
    "LessEqual": _binary(np.less_equal),
    "Greater": _binary(np.greater),
    "GreaterEqual": _binary(np.greater_equal),
    "Equal": _binary(np.equal),
    "NotEqual": _binary(np.not_equal),
    "LogicalAnd": _binary(np.logical_and),
    "LogicalOr": _binary(np.logical_or),
    "Minimum": _binary(np.minimum),
    "Maximum": _binary(np.maximum),
    "LogicalNot": lambda fold, node, depth: np.logical_not(fold.operand(node.inputs[0], depth)),
    "Neg": lambda fold, node, depth: np.negative(fold.operand(node.inputs[0], depth)),
    "Cast": _cast,
    "BroadcastTo": _broadcast,
    "Tile": lambda fold, node, depth: np.tile(fold.operand(node.inputs[0], depth), fold.numbers(node.inputs[1])),
    "Transpose": lambda fold, node, depth: np.transpose(
        fold.operand(node.inputs[0], depth), fold.numbers(node.inputs[1])
    ),
    "RepeatInterleaveInt": lambda fold, node, depth: np.repeat(
        fold.operand(node.inputs[0], depth), fold.numbers(node.inputs[1])[0], fold.numbers(node.inputs[2])[0]
    ),
    "MaskedFill": lambda fold, node, depth: np.where(
        fold.operand(node.inputs[1], depth),
        fold.operand(node.inputs[2], depth).astype(fold.operand(node.inputs[0], depth).dtype),
        fold.operand(node.inputs[0], depth),
    ),
    "Select": lambda fold, node, depth: np.where(
        fold.operand(node.inputs[0], depth),
        fold.operand(node.inputs[1], depth),
        fold.operand(node.inputs[2], depth),
    ),
    "Triu": _triangle(np.triu),
    "Tril": _triangle(np.tril),
    "StridedSlice": _slice,
    "Eye": lambda fold, node, depth: np.eye(fold.numbers(node.inputs[0])[0], fold.numbers(node.inputs[1])[0]),
    "Concat": _joined,
    "TensorScatterUpdate": _put,
}

# Operators that compute, whose output holds only elements of the inputs named here (arithmetic: computed from one of
# each). What only hands its elements on is asked of the operator table.
_SET_SOURCES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Muls", "Div", "Divs", "InplaceMul"), (0, 1)),
    "MaskedFill": (0, 2),
    "Select": (1, 2),
    "TensorScatterUpdate": (0, 2),
}

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Muls": operator.mul,
    "InplaceMul": operator.mul,
    "Div": operator.truediv,
    "Divs": operator.truediv,
}


def _guarded(function: Callable[[float, float], float], x: float, y: float) -> float:
    try:
        return function(x, y)
    except (ZeroDivisionError, OverflowError):
        return math.nan


def _bounded(numbers: list[float]) -> Numbers | None:
    if len(numbers) > MAX_NUMBERS or any(math.isnan(x) for x in numbers):
        return None
    return frozenset(x + 0.0 for x in numbers)  # −0 and 0 are one number here


def is_learned(model: Model, value: str, depth: int = 16) -> bool:
    """Whether a value holds only elements of weights: what selects them may be computed.

    It tells a linear layer from attention, and nothing of the numbers: a mask may be kept as a weight.
    """
    if model.is_parameter(value):
        return True
    node = model.producer(value)
    if node is None or depth == 0:
        return False
    before = source(node, ELEMENTS)
    return before is not None and is_learned(model, before, depth - 1)
