"""What the operators that read a graph input ask of it: where they are defined, and what kind of number it stands for.

Each input is followed forward, with the factor and the number added on the way as long as both are constant, until an
operator is met that says something: a logarithm is defined above 0, a table has so many rows, a comparison with 0, 1,
2, … reads a length, what is added in front of a softmax is a mask or a bias. Nothing is proved of the rest of the
graph: these are hints for drawing numbers, and what they leave out is what `--data` is for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from attnfuse.ir.graph import CALL, Model, Node
from attnfuse.ir.operators.columns import Hands, Role
from attnfuse.ir.questions import hands, role
from attnfuse.mindir import dtypes
from attnfuse.verify.graph.fused_nodes import FUSED_OPS, MalformedError, read
from attnfuse.verify.graph.known import depends_on_inputs, handed_on, known_number, range_size

WIDE = 1000.0
"""A factor from this on turns 0 and 1 into a mask that is added: the graph does not mean the number itself."""

_LOOKUPS = {"Embedding": (1, 0), "EmbeddingLookup": (0, 1), "Gather": (0, 1), "IndexSelect": (0, 2), "GatherD": (0, 2),
            "Scatter": (0, 2), "ScatterAddExt": (0, 2), "TensorScatterElements": (0, 1)}  # fmt: skip
"""Operator → positions of the table and of the indices."""
_AXIS = {"Gather": 2, "IndexSelect": 1, "GatherD": 1, "Scatter": 1, "ScatterAddExt": 1, "TensorScatterElements": 3}
"""Operator → position of the axis that is looked up along; of others it is the first."""

_ADDS = ("Add", "Adds", "AddExt", "AddScalar", "InplaceAddExt", "InplaceAddsExt")
_SUBS = ("Sub", "Subs", "SubExt", "SubScalar", "InplaceSubExt")
_MULS = ("Mul", "Muls", "InplaceMul", "InplaceMuls")
_DIVS = ("Div", "Divs", "RealDiv", "InplaceDiv", "InplaceDivs")
_ALPHA = ("AddExt", "SubExt", "AddScalar", "SubScalar", "InplaceAddExt", "InplaceSubExt", "InplaceAddsExt")
_WHOLE_DIVS = ("FloorDiv", "FloorDivScalar", "FloorMod", "DivMod", "DivMods", "Mod", "RemainderTensorTensor",
               "RemainderScalarTensor")  # fmt: skip
_ORDERS = ("Less", "LessScalar", "LessEqual", "LessEqualScalar", "Greater", "GreaterScalar", "GreaterEqual",
           "GreaterEqualScalar")  # fmt: skip
_EQUALS = ("Equal", "EqScalar", "NotEqual", "NeScalar")
_CONDITIONS = {"LogicalNot": (0,), "LogicalAnd": (0, 1), "LogicalOr": (0, 1), "LogicalXor": (0, 1), "Select": (0,),
               "Where": (0,), "MaskedFill": (1,), "MaskedFillScalar": (1,)}  # fmt: skip
"""Operator → operands that it reads as true or false."""

_LOGARITHMS = ("Log", "Log2", "Log10", "LogExt", "InplaceLog")
_INTERVALS = {
    **dict.fromkeys((*_LOGARITHMS, "Sqrt", "Rsqrt"), (0.0, math.inf)),
    "Log1p": (-1.0, math.inf),
    **dict.fromkeys(("ACos", "AcosExt", "Asin", "AsinExt", "Atanh", "Erfinv"), (-1.0, 1.0)),
    **dict.fromkeys(("Acosh", "AcoshExt"), (1.0, math.inf)),
    "Logit": (0.0, 1.0),
}
"""Operator → the open interval in which its result is a finite number."""

_KEEP_SIGN = (
    "ReLU", "ClampScalar", "ClampTensor", "Maximum", "Minimum", "ReduceSum", "SumExt", "ReduceMean", "MeanExt",
    "ReduceMax", "ReduceMin", "Max", "Min", "ProdExt", "ReduceProd", "CumSum", "CumsumExt",
)  # fmt: skip
"""Operators that make something positive of what is positive, and of nothing else."""

_BEFORE_SOFTMAX = (*_ADDS, *_SUBS, *_MULS, *_DIVS, "MaskedFill", "MaskedFillScalar", "Select", "Where",
                   "Maximum", "Minimum")  # fmt: skip
"""Operators between scores and their softmax, beside those that hand the scores on."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What is asked of one input. Numbers are the input's own.

    `low` and `high` bound where its readers are defined, both excluded; `avoid` are numbers that it is divided by zero
    at. `rows` is the size of the smallest table it looks up, `span` that of the longest range of positions it is
    compared with, as a length is. `condition`: read as true or false, or as 0 and 1 that make a mask. `additive`: a
    mask or a bias that is added to scores as it is. `weighs`: its logarithm is, so 0 hides a key.
    """

    low: float = -math.inf
    high: float = math.inf
    avoid: tuple[float, ...] = ()
    rows: int | None = None
    span: int | None = None
    condition: bool = False
    additive: bool = False
    weighs: bool = False


def needs(model: Model, value: str) -> Needs:
    """What the graph asks of its input `value`.

    Where operators are defined comes first: a mask that is added holds numbers of any size, so an input with bounds is
    none, and 0 and 1 stand for a mask only where both lie within the bounds or on them. Bounds that leave nothing are
    those of a product whose factors are read one by one (`-w · (w - 1)`, positive where both are negative): they hold
    the other way round; a single point is replaced with 0 to 1.
    """
    found = _Walk(model).of(value)
    low, high = found.low, found.high
    if low >= high:
        low, high = (high, low) if low > high else (0.0, 1.0)
    bounded = math.isfinite(low) or math.isfinite(high)
    return replace(
        found,
        low=low,
        high=high,
        additive=found.additive and not bounded,
        condition=found.condition and low <= 0.0 and high >= 1.0,
    )


@dataclass(frozen=True, slots=True)
class _State:
    """A value on the way: `factor` · input + `added`. Not `exact`: of the same sign as that, and no more. `curved`: a
    root, a power or a quotient of it, which is no mask or bias that the input holds."""

    value: str
    factor: float = 1.0
    added: float = 0.0
    exact: bool = True
    curved: bool = False

    def at(self, number: float) -> float:
        """The input's number at which this value is `number`."""
        return (number - self.added) / self.factor

    def loose(self, value: str) -> _State:
        """Of the sign of this value: positive on the same side of the same number of the input."""
        size = abs(self.factor)
        return replace(self, value=value, factor=self.factor / size, added=self.added / size, exact=False)

    def bent(self, value: str) -> _State:
        return replace(self.loose(value), curved=True)


@dataclass(slots=True)
class _Walk:
    model: Model
    found: Needs = field(default_factory=Needs)
    softened: dict[str, bool] = field(default_factory=dict)
    """Values → whether a softmax takes them as scores."""

    def of(self, value: str) -> Needs:
        stack, seen = [_State(value)], set()
        while stack:
            state = stack.pop()
            if state in seen:
                continue
            seen.add(state)
            for use in self.model.uses(state.value):
                if use.node is None:
                    stack += [replace(state, value=call) for call in self._calls(state.value)]
                elif use.node.op == CALL:
                    stack += self._into(use.node, use.position, state)
                else:
                    stack += self._read(use.node, use.position, state)
        return self.found

    # --- functions

    def _into(self, node: Node, position: int, state: _State) -> Iterator[_State]:
        name = node.proto.op_type.removeprefix("REF::")
        for function in self.model.proto.functions:
            if function.name == name and 0 <= position < len(function.input):
                yield replace(state, value=function.input[position].name)

    def _calls(self, output: str) -> Iterator[str]:
        """Results of the calls of the function that `output` is the result of."""
        names = {f.name for f in self.model.proto.functions if any(o.name == output for o in f.output)}
        for name in names:
            yield from (u.node.name for u in self.model.uses(name) if u.node is not None and u.node.op == CALL)

    # --- readers

    def _read(self, node: Node, position: int, state: _State) -> list[_State]:
        """Note what the node asks; the states to go on with."""
        op, result = node.op, node.name
        if op in _LOOKUPS:
            return self._look_up(node, position, state)
        if op in FUSED_OPS:
            self._attention(node, state)
            return []
        if op == "Assign":  # what is loaded of the parameter behind it is the input
            return [replace(state, value=node.inputs[0])] if position == 1 else []
        if position in _CONDITIONS.get(op, ()):
            self.found = replace(self.found, condition=True)
            return []
        if op in _ORDERS or op in _EQUALS:
            self._compare(node, position, state)
            return []
        if hands(node) is Hands.JOINED:
            return [replace(state, value=result)]
        taken = handed_on(node)
        if taken is not None:
            tensor_type = self.model.type_of(result)
            if hands(node) is Hands.CONVERTED and tensor_type is not None and tensor_type.dtype is dtypes.BOOL:
                self.found = replace(self.found, condition=True)
                return []
            return [replace(state, value=result)] if node.inputs[position] == taken else []
        if op in _INTERVALS:
            self._within(*_INTERVALS[op], state)
            if op in _LOGARITHMS and state.exact and state.factor > 0 and state.added == 0 and self._is_score(result):
                self.found = replace(self.found, weighs=True)
            return [state.bent(result)] if op in ("Sqrt", "Rsqrt") else []
        if op in ("Pow", "PowTensorScalar", "PowScalarTensor"):
            return self._power(node, position, state)
        if op in ("Reciprocal", *_WHOLE_DIVS):
            if op == "Reciprocal" or position == 1:
                self._nonzero(state)
            return [state.bent(result)] if op == "Reciprocal" else []
        if op in _KEEP_SIGN:
            return [state.loose(result)]
        if op == "Baddbmm" and position == 0:
            self._added_to_scores(result, state)
            return []
        return self._arithmetic(node, position, state)

    def _look_up(self, node: Node, position: int, state: _State) -> list[_State]:
        table_at, indices_at = _LOOKUPS[node.op]
        if position != indices_at:
            return [replace(state, value=node.name)] if position == table_at else []
        table = self.model.type_of(node.inputs[table_at])
        axis = known_number(self.model, node.inputs[_AXIS[node.op]]) if node.op in _AXIS else 0
        direct = state.exact and state.factor == 1
        if direct and table is not None and axis is not None and -table.rank <= axis < table.rank:
            rows = int(table.dims[int(axis)] - state.added)
            known = self.found.rows
            self.found = replace(self.found, rows=rows if known is None else min(known, rows))
        return []

    def _attention(self, node: Node, state: _State) -> None:
        try:
            attention = read(self.model, node)
        except MalformedError:
            return
        if state.value == attention.bias:
            self._take_as_bias(state)
        elif state.value == attention.mask:
            self.found = replace(self.found, condition=True)

    def _compare(self, node: Node, position: int, state: _State) -> None:
        """With positions, or any constant of several numbers where it asks which is larger: a length. With 0 or 1: a
        mask, where it asks for equality."""
        other = node.inputs[1 - position] if position < 2 and len(node.inputs) > 1 else None
        if other is None:
            return
        number = known_number(self.model, other)
        if number is None:
            self._span(other)
            tensor_type = self.model.type_of(other)
            many = tensor_type is not None and tensor_type.is_static and max(tensor_type.dims, default=1) > 1
            if (
                self.found.span is None
                and tensor_type is not None
                and many
                and node.op in _ORDERS
                and not depends_on_inputs(self.model, other)
            ):
                self.found = replace(self.found, span=max(tensor_type.dims))
        elif node.op in _EQUALS and state.exact and state.at(number) in (0.0, 1.0):
            self.found = replace(self.found, condition=True)

    def _span(self, other: str) -> None:
        """Note that a value meets 0, 1, 2, …, through casts and layouts."""
        size = range_size(self.model, other)
        if size is not None:
            self.found = replace(self.found, span=max(size, self.found.span or 0))

    def _within(self, low: float, high: float, state: _State) -> None:
        """The value has to lie between the two; an interval of numbers of any sign says nothing of a loose one."""
        if not state.exact:
            low, high = (0.0, math.inf) if low == 0 else (-math.inf, math.inf)
        ends = sorted((state.at(low), state.at(high)))
        self.found = replace(self.found, low=max(self.found.low, ends[0]), high=min(self.found.high, ends[1]))

    def _nonzero(self, state: _State) -> None:
        at = state.at(0.0)
        if at not in self.found.avoid:
            self.found = replace(self.found, avoid=(*self.found.avoid, at))

    def _power(self, node: Node, position: int, state: _State) -> list[_State]:
        if position == 1:  # an exponent: any base is a number to a power near 1
            return []
        exponent = known_number(self.model, node.inputs[1])
        if exponent is None or exponent != int(exponent):
            self._within(0.0, math.inf, state)
        elif exponent < 0:
            self._nonzero(state)
        return [] if exponent is not None and exponent % 2 == 0 else [state.bent(node.name)]

    def _arithmetic(self, node: Node, position: int, state: _State) -> list[_State]:
        op, result = node.op, node.name
        if op == "Neg":
            return [replace(state, value=result, factor=-state.factor, added=-state.added)]
        if op not in (*_ADDS, *_SUBS, *_MULS, *_DIVS) or position > 1:
            return []
        other = node.inputs[1 - position]
        number = known_number(self.model, other)
        if op in (*_ADDS, *_SUBS):
            return self._sum(node, position, state, number)
        if op in _DIVS and position == 1:
            self._nonzero(state)
            return [state.bent(result)]
        if number is None:
            return [state.loose(result)]
        factor = number if op in _MULS else 1 / number if number else 0.0
        if not factor or not math.isfinite(factor):
            return []
        return [replace(state, value=result, factor=state.factor * factor, added=state.added * factor)]

    def _sum(self, node: Node, position: int, state: _State, number: float | None) -> list[_State]:
        """scores + input; input − a number; a number − input."""
        result = node.name
        sign = -1.0 if node.op in _SUBS else 1.0
        alpha = known_number(self.model, node.inputs[2]) if node.op in _ALPHA and len(node.inputs) > 2 else 1.0
        if not alpha:
            return []
        if number is None:
            other = node.inputs[1 - position]
            self._span(other)
            if depends_on_inputs(self.model, other):
                self._added_to_scores(result, state)
                return [state.loose(result)]
            # A constant of several numbers: what is added differs from place to place, the factor does not.
            turned = sign if position == 1 else 1.0
            return [replace(state, value=result, factor=state.factor * turned, added=0.0, exact=False)]
        if position == 0:
            return [replace(state, value=result, added=state.added + sign * alpha * number)]
        factor = sign * alpha
        return [replace(state, value=result, factor=state.factor * factor, added=state.added * factor + number)]

    # --- scores

    def _added_to_scores(self, result: str, state: _State) -> None:
        if self._is_score(result):
            self._take_as_bias(state)

    def _take_as_bias(self, state: _State) -> None:
        """What is added to scores: the input's own numbers, or 0 and 1 that the graph makes a mask of."""
        if abs(state.factor) >= WIDE:
            self.found = replace(self.found, condition=True)
        elif not state.curved:
            self.found = replace(self.found, additive=True)

    def _is_score(self, value: str) -> bool:
        """Whether a softmax takes the value, through nothing but sums, factors and fills."""
        if value not in self.softened:
            self.softened[value] = False
            for use in self.model.uses(value):
                node = use.node
                if node is None:
                    continue
                if _makes_softmax(self.model, node, use.position):
                    self.softened[value] = True
                elif node.op in FUSED_OPS:
                    self.softened[value] = self.softened[value] or use.position > 2
                elif _keeps_scores(node, use.position):
                    self.softened[value] = self.softened[value] or self._is_score(node.name)
        return self.softened[value]


def _makes_softmax(model: Model, node: Node, position: int) -> bool:
    """Whether an operand at that position has its softmax taken, by one operator or by exponentials that are summed."""
    if role(node) is Role.EXPONENTIAL:
        onward = [use.node for use in model.uses(node.name) if use.node is not None]
        summed = ("ReduceSum", "SumExt")
        return any(
            user.op in summed or any(use.node is not None and use.node.op in summed for use in model.uses(user.name))
            for user in onward
        )
    return node.op in ("Softmax", "LogSoftmax", "LogSoftmaxExt", "LogSumExp") and position == 0


def _keeps_scores(node: Node, position: int) -> bool:
    """Whether an operand at that position may be scores, and the result is scores again: no condition is."""
    if node.op in ("Select", "Where") and position == 0:
        return False
    return node.op in _BEFORE_SOFTMAX or handed_on(node) is not None
