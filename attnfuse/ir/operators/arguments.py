"""An operator's parameters, told as text, and the arguments of one node read by their names.

    input: tensor, shape: ints, alpha: number = 1, mask: tensor?, state: monad; eps: float = 1e-5

Names before the `;` are inputs of a node in their order, those behind it attributes of its primitive. `?` may be None,
`= value` may be left out, `kind...` takes all that follow. What a primitive has as an attribute is no input of its
nodes: so MindSpore writes operators that are primitives and no primitive functions.

Kinds: tensor, tensors (a tuple of them), operand (a tensor or a number), int, float, number, bool, ints, numbers, dtype
(MindSpore's number of an element type), enum (a number or the word for it), text, texts, monad, function, any.

Every number of a message is typed and bounded here, where it is read.
"""

from __future__ import annotations

import ast
import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from attnfuse.ir.types import Literal, ScalarType, Special, TensorType, ValueType, describe
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType

LARGEST: Final = 2**63 - 1
"""The largest size a file can hold."""


class TypeMismatch(Exception):  # noqa: N818  # a verdict about a graph, no failure of this program
    """What is wrong with a node's arguments or types: a sentence without its subject, "has …" or "adds …"."""


class Unordered(TypeMismatch):
    """A change of memory that no monad ties into the order of effects."""


class NotKnown(Exception):  # noqa: N818  # ends an inference that has nothing to go by
    """An argument that decides the result is not known before run time, or of no known type."""


class Computed:
    """The value of an argument that is no constant."""


COMPUTED: Final = Computed()
Known: TypeAlias = "Literal | Computed"


class Argument:
    """What is known of one value: its type, and its number, text or elements where it is a constant.

    `elements` are those of a tuple that the graph makes or holds; None where only their types are known.
    """

    __slots__ = ("_read", "_value", "elements", "value_type")

    def __init__(
        self,
        value_type: ValueType,
        value: Known = COMPUTED,
        *,
        elements: tuple[Argument, ...] | None = None,
        read: Callable[[], Known] | None = None,
    ) -> None:
        """`read` is asked for the value when it is first wanted: most constant tensors never are."""
        self.value_type = value_type
        self.elements = elements
        self._value = value
        self._read = read

    @property
    def value(self) -> Known:
        """The constant, or COMPUTED."""
        if self._read is not None:
            self._value, self._read = self._read(), None
        return self._value


NONE: Final = Argument(Special.NONE, None)
ABSENT: Final = Argument(Special.NONE, None)
"""Stands for an argument that the node has not."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operator. `default` counts where `has_default`; `variadic` takes all inputs that follow."""

    name: str
    kind: str
    optional: bool
    variadic: bool
    has_default: bool
    default: Argument
    takes: Callable[[ValueType], bool]
    """Whether a value of that kind, which is known and not None, may be given."""


_PARAMETER = re.compile(r"(\w+): (\w+)(\?|\.\.\.)?(?: = (.+))?")


@dataclass(frozen=True, slots=True)
class Signature:
    """All parameters: the inputs in their order, the attributes, and where each name is found."""

    inputs: tuple[Parameter, ...]
    attributes: tuple[Parameter, ...]
    positions: dict[str, int]
    """Of every name, in inputs and then attributes."""
    least: int
    """How many inputs a node has at least."""
    most: int
    """How many it may have; −1 where there is no end."""
    takes_monad: bool

    def with_attributes(self, names: frozenset[str]) -> Signature:
        """The same for a primitive that has attributes of these names: those inputs stand there and in no node."""
        moved = [parameter for parameter in self.inputs if parameter.name in names]
        if not moved:
            return self
        kept = tuple(parameter for parameter in self.inputs if parameter.name not in names)
        return _signature(kept, (*moved, *self.attributes))


def parse_signature(text: str) -> Signature:
    """The parameters that `text` tells. Raises ValueError for a text that is none, or a name given twice."""
    before, _, behind = text.partition(";")
    inputs, attributes = (tuple(map(_parameter, filter(None, map(str.strip, _commas(p))))) for p in (before, behind))
    names = [parameter.name for parameter in (*inputs, *attributes)]
    if len(set(names)) != len(names):
        raise ValueError(f"{text!r} names a parameter twice")
    if any(parameter.variadic for parameter in inputs[:-1]) or any(p.variadic for p in attributes):
        raise ValueError(f"{text!r} goes on behind `...`")
    return _signature(inputs, attributes)


def _signature(inputs: tuple[Parameter, ...], attributes: tuple[Parameter, ...]) -> Signature:
    is_variadic = bool(inputs) and inputs[-1].variadic
    required = [i for i, p in enumerate(inputs) if not p.has_default and not p.variadic and p.kind != "monad"]
    return Signature(
        inputs=inputs,
        attributes=attributes,
        positions={parameter.name: i for i, parameter in enumerate((*inputs, *attributes))},
        least=required[-1] + 1 if required else 0,
        most=-1 if is_variadic else len(inputs),
        takes_monad=any(parameter.kind == "monad" and not parameter.optional for parameter in inputs),
    )


def _commas(text: str) -> list[str]:
    """Split at commas outside brackets."""
    return re.split(r",\s*(?![^(]*\))", text)


def _parameter(text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text)
    if match is None or match[2] not in KINDS:
        raise ValueError(f"{text!r} is no parameter")
    default = ABSENT if match[4] is None else constant(ast.literal_eval(match[4]))
    _, takes = KINDS[match[2]]
    return Parameter(match[1], match[2], match[3] == "?", match[3] == "...", match[4] is not None, default, takes)


def constant(value: Literal) -> Argument:
    """A literal as an argument. (Tensors are read from their message.)"""
    if isinstance(value, tuple):
        elements = tuple(constant(element) for element in value)
        return Argument(tuple(element.value_type for element in elements), value, elements=elements)
    return Argument(_type_of_literal(value), value)


def _type_of_literal(value: Literal) -> ValueType:
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, int):
        return _INT
    if isinstance(value, float):
        return _FLOAT
    if isinstance(value, str):
        return Special.TEXT
    return Special.NONE if value is None else None


_BOOL, _INT, _FLOAT = (ScalarType(dtype) for dtype in (dtypes.BOOL, dtypes.INT64, dtypes.FLOAT32))


# --- which types a parameter takes


def _is_tensor(value_type: ValueType) -> bool:
    return type(value_type) is TensorType


def _is_number(value_type: ValueType) -> bool:
    return isinstance(value_type, ScalarType) or (isinstance(value_type, TensorType) and not value_type.dims)


def _is_whole(value_type: ValueType) -> bool:
    sort = type(value_type)
    if sort is ScalarType:
        return not value_type.dtype.is_float  # type: ignore[union-attr]  # its type was just looked at
    return sort is TensorType and len(value_type.dims) <= 1 and not value_type.dtype.is_float  # type: ignore[union-attr]


def _is_bool(value_type: ValueType) -> bool:
    return isinstance(value_type, ScalarType) and not value_type.dtype.is_float


def _are_wholes(value_type: ValueType) -> bool:
    if isinstance(value_type, tuple):
        return all(element is None or _is_whole(element) for element in value_type)
    return _is_whole(value_type)


def _are_numbers(value_type: ValueType) -> bool:
    if isinstance(value_type, tuple):
        return all(element is None or _is_number(element) for element in value_type)
    return _is_number(value_type) or (isinstance(value_type, TensorType) and len(value_type.dims) == 1)


def _are_tensors(value_type: ValueType) -> bool:
    return isinstance(value_type, tuple) and all(
        element is None or isinstance(element, TensorType) for element in value_type
    )


def _is_enum(value_type: ValueType) -> bool:
    return value_type is Special.TEXT or (isinstance(value_type, ScalarType) and value_type.dtype is dtypes.INT64)


def _are_texts(value_type: ValueType) -> bool:
    return value_type is Special.TEXT or (isinstance(value_type, tuple) and all(e is Special.TEXT for e in value_type))


KINDS: dict[str, tuple[str, Callable[[ValueType], bool]]] = {
    "tensor": ("a tensor", _is_tensor),
    "tensors": ("a tuple of tensors", _are_tensors),
    "operand": ("a tensor or a number", lambda given: isinstance(given, (TensorType, ScalarType))),
    "int": ("a whole number", _is_whole),
    "float": ("a number", _is_number),
    "number": ("a number", _is_number),
    "bool": ("a truth value", _is_bool),
    "ints": ("whole numbers", _are_wholes),
    "numbers": ("numbers", _are_numbers),
    "dtype": ("the number of an element type", _is_whole),
    "enum": ("a number or a word", _is_enum),
    "text": ("a word", lambda given: given is Special.TEXT),
    "texts": ("words", _are_texts),
    "monad": ("a monad", lambda given: given is Special.MONAD),
    "function": ("a function", lambda given: given is Special.FUNCTION),
    "any": ("a value", lambda given: True),
}


class Arguments:
    """The arguments of one node, by name. Every accessor raises TypeMismatch for a value of a wrong type, and NotKnown
    for one of which too little is known before run time.
    """

    __slots__ = ("_attribute", "_inputs", "_signature")

    def __init__(
        self,
        signature: Signature,
        inputs: Sequence[Argument],
        attribute: Callable[[str], Argument | None],
    ) -> None:
        """`inputs` are the node's; `attribute` finds one of its primitive by name."""
        self._signature = signature
        self._inputs = inputs
        self._attribute = attribute

    def check(self) -> None:
        """Raise TypeMismatch for a wrong number of inputs, one missing, or one of a type the operator does not take."""
        signature, inputs = self._signature, self._inputs
        count = len(inputs)
        if signature.most >= 0 and count > signature.most:
            # MindSpore ties a node to the order of effects by a monad behind its arguments.
            extra = inputs[signature.most :]
            if any(argument.value_type is not Special.MONAD and argument.value_type is not None for argument in extra):
                raise TypeMismatch(f"has {count} arguments; it takes {self._counts()}")
        for parameter, argument in zip(signature.inputs, inputs, strict=False):
            value_type = argument.value_type
            if value_type is not None and not parameter.takes(value_type):
                _check_type(parameter, argument)
        if signature.most < 0:
            for argument in inputs[len(signature.inputs) :]:
                _check_type(signature.inputs[-1], argument)
        for parameter in (*signature.inputs[count:], *signature.attributes):
            found = self._attribute(parameter.name)
            if found is not None:
                _check_type(parameter, found)
            elif parameter.kind == "monad":
                if not parameter.optional:
                    raise Unordered("changes memory, and no monad orders it")
            elif not parameter.has_default and not parameter.variadic and not parameter.optional:
                raise TypeMismatch(f"lacks its argument {parameter.name}")

    def _counts(self) -> str:
        least, most = self._signature.least, self._signature.most
        return str(most) if least == most else f"{least} to {most}"

    # --- reading by name

    def get(self, name: str) -> Argument:
        """The argument, its default where it is left out. KeyError for a name the operator has not."""
        signature = self._signature
        position = signature.positions[name]
        inputs = self._inputs
        if position < len(inputs) and position < len(signature.inputs):
            return inputs[position]
        found = self._attribute(name)
        if found is not None:
            return found
        count = len(signature.inputs)
        return (signature.inputs[position] if position < count else signature.attributes[position - count]).default

    def rest(self, name: str) -> Sequence[Argument]:
        """All arguments of a parameter that takes all that follow."""
        return self._inputs[self._signature.positions[name] :]

    def value_type(self, name: str) -> ValueType:
        """The argument's type."""
        return self.get(name).value_type

    def is_none(self, name: str) -> bool:
        """Whether None is given for it, or nothing."""
        return self.get(name).value_type is Special.NONE

    def tensor(self, name: str) -> TensorType:
        """Type of a tensor."""
        value_type = self.get(name).value_type
        if type(value_type) is TensorType:
            return value_type
        if value_type is None:
            raise NotKnown(name)
        raise self._wrong(name, "a tensor")

    def optional_tensor(self, name: str) -> TensorType | None:
        """Type of a tensor, None where there is none."""
        return None if self.is_none(name) else self.tensor(name)

    def tensors(self, name: str) -> tuple[TensorType, ...]:
        """Types of a tuple of tensors, of which there is at least one."""
        value_type = self.get(name).value_type
        if value_type is None:
            raise NotKnown(name)
        if not isinstance(value_type, tuple):
            raise self._wrong(name, "a tuple of tensors")
        if not value_type:
            raise TypeMismatch(f"has no element in its {name}")
        found = []
        for element in value_type:
            if element is None:
                raise NotKnown(name)
            if not isinstance(element, TensorType):
                raise self._wrong(name, "a tuple of tensors")
            found.append(element)
        return tuple(found)

    def integer(self, name: str) -> int:
        """A constant whole number, also as a tensor or tuple of one."""
        value = self.get(name).value
        if type(value) is int:
            return value
        return self._one(name, value)

    def size(self, name: str) -> int | None:
        """The same, None where it is computed."""
        argument = self.get(name)
        if argument.value is COMPUTED:
            if argument.value_type is None or _is_whole(argument.value_type):
                return None
            raise self._wrong(name, "a whole number")
        return self.integer(name)

    def _one(self, name: str, value: Known) -> int:
        if value is COMPUTED:
            raise NotKnown(name)
        if isinstance(value, tuple) and len(value) == 1 and type(value[0]) is int:
            return value[0]
        raise self._wrong(name, "a whole number")

    def integers(self, name: str) -> tuple[int, ...]:
        """Constant whole numbers; one alone counts as a tuple of one."""
        value = self.get(name).value
        if type(value) is tuple:
            for element in value:
                if type(element) is not int:
                    raise self._wrong(name, "whole numbers")
            return value  # type: ignore[return-value]  # every element was just looked at
        if type(value) is int:
            return (value,)
        if value is COMPUTED:
            raise NotKnown(name)
        raise self._wrong(name, "whole numbers")

    def sizes(self, name: str) -> tuple[int | None, ...]:
        """Whole numbers, None for each that is computed. Raises NotKnown where not even their number is known."""
        argument = self.get(name)
        value = argument.value
        if value is not COMPUTED:
            return self.integers(name)
        if argument.elements is not None:
            return tuple(self._element(name, element) for element in argument.elements)
        value_type = argument.value_type
        if isinstance(value_type, tuple):
            return (None,) * len(value_type)
        if isinstance(value_type, TensorType) and len(value_type.dims) == 1 and 0 <= value_type.dims[0] <= _MOST_SIZES:
            return (None,) * value_type.dims[0]
        if isinstance(value_type, ScalarType):
            return (None,)
        raise NotKnown(name)

    def _element(self, name: str, element: Argument) -> int | None:
        value = element.value
        if type(value) is int:
            return value
        if value is COMPUTED:
            return None
        return self._one(name, value)

    def finites(self, name: str) -> tuple[float, ...]:
        """Constant numbers that are neither NaN nor beyond any size."""
        value = self.get(name).value
        if value is COMPUTED:
            raise NotKnown(name)
        numbers = value if isinstance(value, tuple) else (value,)
        found = []
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= LARGEST:
                raise self._wrong(name, "finite numbers")
            found.append(float(number))
        return tuple(found)

    def finite(self, name: str) -> float:
        """A constant number that is neither NaN nor beyond any size."""
        numbers = self.finites(name)
        if len(numbers) != 1:
            raise self._wrong(name, "a number")
        return numbers[0]

    def flag(self, name: str) -> bool:
        """A constant truth value."""
        value = self.get(name).value
        if isinstance(value, bool):
            return value
        if value is COMPUTED:
            raise NotKnown(name)
        raise self._wrong(name, "a truth value")

    def scalar(self, name: str) -> DType:
        """Element type of a number, which may be computed: bool, int64 or float32 of a plain one."""
        value_type = self.get(name).value_type
        if value_type is None:
            raise NotKnown(name)
        if isinstance(value_type, ScalarType) or (isinstance(value_type, TensorType) and not value_type.dims):
            return value_type.dtype
        raise self._wrong(name, "a number")

    def dtype(self, name: str) -> DType | None:
        """The element type that a number of MindSpore's stands for; None where None is given."""
        argument = self.get(name)
        if argument.value_type is Special.NONE:
            return None
        number = self.integer(name)
        dtype = dtypes.from_type_id(number)
        if dtype is None:
            raise TypeMismatch(f"has a {name} of {number}, which is the number of no element type")
        return dtype

    def choice(self, name: str, words: dict[int, str]) -> str:
        """One of the words, given as it or as its number."""
        value = self.get(name).value
        if value is COMPUTED:
            raise NotKnown(name)
        word = words.get(value) if type(value) is int else value
        if isinstance(word, str) and word in words.values():
            return word
        raise TypeMismatch(f"has {_quoted(value)} as its {name}; it takes {' or '.join(words.values())}")

    def _wrong(self, name: str, expected: str) -> TypeMismatch:
        return TypeMismatch(f"has {_argument_text(self.get(name))} as its {name}; it takes {expected}")


_MOST_SIZES = 64
"""No tensor has more axes: what claims more of them is left alone."""


def _check_type(parameter: Parameter, argument: Argument) -> None:
    value_type = argument.value_type
    if value_type is None or parameter.takes(value_type):
        return
    if value_type is Special.NONE:
        if parameter.optional or (parameter.has_default and parameter.default.value_type is Special.NONE):
            return
        raise TypeMismatch(f"lacks its argument {parameter.name}")
    raise TypeMismatch(f"has {_argument_text(argument)} as its {parameter.name}; it takes {KINDS[parameter.kind][0]}")


def _argument_text(argument: Argument) -> str:
    value = argument.value
    if isinstance(value, Computed) or isinstance(argument.value_type, TensorType):
        return describe(argument.value_type)
    return _quoted(value)


_REPR = reprlib.Repr()
"""A tuple of a file may hold itself many times over: it is never told whole."""
_REPR.maxlevel, _REPR.maxtuple, _REPR.maxstring = 2, 8, 60


def _quoted(value: object) -> str:
    return _REPR.repr(value)
