"""What one step says: where to go on, and what the node that was read back did to the value.

Each effect is an algebraic statement about `output = f(input)`; tests evaluate it in float64 against the operator
itself, on the examples every identity carries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from attnfuse.api import DType, Model, Node
from attnfuse_passes.attention.axes import Space


@dataclass(frozen=True, slots=True)
class Same:
    """output = input."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """output = input, read after an effect that only the region's own nodes can have."""


@dataclass(frozen=True, slots=True)
class Scale:
    """output = factor · input, the factor a known constant."""

    factor: float


@dataclass(frozen=True, slots=True)
class ScaleBy:
    """output = input · value, or input / value (`divides`): a value of the graph, known at run time only.

    It is broadcast to the input by its trailing axes.
    """

    value: str
    divides: bool = False


@dataclass(frozen=True, slots=True)
class AtLeast:
    """output = max(input, low), where no finite number of the input's type is below `low`: −∞ becomes `low`."""

    low: float


@dataclass(frozen=True, slots=True)
class Convert:
    """output = input in another float type. Exact where `wider`; a rounding otherwise."""

    source: DType
    target: DType
    wider: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """output = input with its axes moved, regrouped or repeated.

    `apply(space, name)` does the same to a view; False where it cannot be expressed.
    """

    apply: Callable[[Space, str], bool]


@dataclass(frozen=True, slots=True)
class AddTerm:
    """output = input + factor · term, the term broadcast to the input by its trailing axes."""

    term: str
    factor: float


@dataclass(frozen=True, slots=True)
class FillWhere:
    """output = fill where the condition is `when`, else input. `fill` is a known constant."""

    condition: str
    when: bool
    fill: float


@dataclass(frozen=True, slots=True)
class NanToZero:
    """output = 0 where the input is not a number, else input."""


@dataclass(frozen=True, slots=True)
class ShiftRows:
    """output = input − by, where `by` is one number for all along `axes` of the input, and made of it by `makers`.

    `kind` says what is subtracted: the largest number of the row ("max"), that or 0 where it is infinite
    ("finite_max"), or another number of the row's ("other").
    """

    by: str
    axes: tuple[int, ...]
    kind: ShiftKind
    makers: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class SubtractLogSum:
    """output = input − log Σ exp(c · input) / c over one axis, c being the logarithm of the base: exp(c · output) is
    the softmax of c · input.

    `stable`: computed from the numbers less their largest, the difference first. `makers` make the logarithm.
    """

    axis: int
    log_base: float
    stable: bool
    makers: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class DivideBySum:
    """output = input / max(Σ of + epsilon, floor), the sum over `axes` of `of`, kept as axes of one element.

    `makers` make the divisor out of `of`; its type is `dtype`.
    """

    of: str
    axes: tuple[int, ...]
    dtype: DType
    epsilon: float
    floor: float
    makers: tuple[Node, ...]


ShiftKind: TypeAlias = Literal["max", "finite_max", "other"]
Effect: TypeAlias = (
    Same
    | Ordered
    | Scale
    | ScaleBy
    | AtLeast
    | Convert
    | Layout
    | AddTerm
    | FillWhere
    | NanToZero
    | ShiftRows
    | SubtractLogSum
    | DivideBySum
)

_NUMBERS = {Scale: "factor", AtLeast: "low", AddTerm: "factor", FillWhere: "fill"}


def is_effect(effect: object) -> bool:
    """Whether it is an effect, its number, if it has one, a number."""
    number = getattr(effect, _NUMBERS.get(type(effect), ""), 0)
    return isinstance(effect, Effect) and isinstance(number, int | float)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: go on at value `input`; `effect` turns it into the node read back's output."""

    node: Node
    input: str
    effect: Effect
    identity: str


IdentityRule: TypeAlias = Callable[[Model, Node], tuple[str, Effect] | None]
