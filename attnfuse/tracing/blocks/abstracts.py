"""What a block takes and gives, as far as its type goes: tensors of a shape and an element type, in any structure.

Worker side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import mindspore

from attnfuse.tracing.blocks.fingerprints import tensor_text
from attnfuse.tracing.blocks.pieces import LEAF, Tree


class UnknownTypeError(Exception):
    """A value is of a type that blocks are not called with, or do not give: the message says which."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor that is not known before run time; `dtype` is MindSpore's name in lower case."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that is known while tracing, by a text that no other value has. A tensor is known by its content."""

    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Several values: a tuple, a list, or a dictionary, which has `keys`."""

    kind: str
    parts: tuple[Abstract, ...]
    keys: tuple[str, ...] = ()


Abstract: TypeAlias = Leaf | Fixed | Group

NONE = Fixed("None")


class Constants:
    """The values that texts of `Fixed` stand for."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {NONE.text: None}
        self._tensors: dict[Any, tuple[str, Any]] = {}

    def fixed(self, text: str, value: Any) -> Fixed:
        """Remember a value."""
        self._values[text] = value
        return Fixed(text)

    def tensor(self, tensor: Any) -> Fixed:
        """Remember a tensor. What is in memory that was seen before, and is held since, is not read again."""
        key = (tensor.data_ptr(), tuple(tensor.shape), str(tensor.dtype))
        if key not in self._tensors:
            self._tensors[key] = (tensor_text(tensor), tensor)
        return self.fixed(*self._tensors[key])

    def value(self, fixed: Fixed) -> Any:
        """The value again."""
        return self._values[fixed.text]


def describe(argument: Mapping[str, Any], constants: Constants) -> Abstract:
    """The abstract of an argument of `__infer__`: a mapping with its shape, dtype and, where it is known, value.

    Raises UnknownTypeError for a tensor whose shape is open, and for a number that is not known.
    """
    return _describe(argument["shape"], argument["dtype"], argument["value"], constants)


def _describe(shape: Any, dtype: Any, value: Any, constants: Constants) -> Abstract:
    if isinstance(value, dict):
        parts = _each(shape, dtype, list(value.values()), len(value), constants)
        return Group("dict", parts, tuple(value))
    if isinstance(dtype, (tuple, list)):
        kind = "tuple" if isinstance(dtype, tuple) else "list"
        return Group(kind, _each(shape, dtype, value, len(dtype), constants))
    if dtype is None and value is None:
        return NONE
    if isinstance(dtype, mindspore._c_expression.typing.TensorType):
        if isinstance(value, mindspore.Tensor):
            return constants.tensor(value)
        if value is not None or shape is None or any(size < 0 for size in shape):
            raise UnknownTypeError("a tensor of an open shape")
        return Leaf(tuple(shape), str(dtype.element_type()).lower())
    if value is None:
        raise UnknownTypeError(f"a value of type {dtype} that is not known while tracing")
    if not isinstance(value, (bool, int, float, str, mindspore._c_expression.typing.Type)):
        raise UnknownTypeError(f"a value of type {type(value).__name__}")
    return constants.fixed(f"{dtype} {value!r}", value)


def _each(shape: Any, dtype: Any, value: Any, count: int, constants: Constants) -> tuple[Abstract, ...]:
    columns = [[None] * count if column is None else list(column) for column in (shape, dtype, value)]
    if any(len(column) != count for column in columns):
        raise UnknownTypeError("a structure of an unknown kind")
    return tuple(_describe(one, kind, held, constants) for one, kind, held in zip(*columns, strict=True))


def to_plain(abstract: Abstract, constants: Constants | None = None) -> Any:
    """JSON values of an abstract; with constants, also the values that its texts stand for, which are literals."""
    if isinstance(abstract, Leaf):
        return {"shape": list(abstract.shape), "dtype": abstract.dtype}
    if isinstance(abstract, Fixed):
        return {"fixed": abstract.text, **({} if constants is None else {"value": constants.value(abstract)})}
    parts = [to_plain(part, constants) for part in abstract.parts]
    return {"kind": abstract.kind, "parts": parts, "keys": list(abstract.keys)}


def from_plain(told: Any, constants: Constants | None = None) -> Abstract:
    """The abstract again; with constants, its values are remembered. Raises KeyError or TypeError for other values."""
    if "dtype" in told:
        return Leaf(tuple(told["shape"]), told["dtype"])
    if "fixed" in told:
        return Fixed(told["fixed"]) if constants is None else constants.fixed(told["fixed"], told["value"])
    return Group(told["kind"], tuple(from_plain(part, constants) for part in told["parts"]), tuple(told["keys"]))


def plain(abstract: Abstract) -> Abstract:
    """Dictionaries as tuples, which MindSpore makes of them while it optimises."""
    if isinstance(abstract, Group):
        kind = "tuple" if abstract.kind == "dict" else abstract.kind
        return Group(kind, tuple(map(plain, abstract.parts)))
    return abstract


def leaves(abstract: Abstract) -> Iterator[Leaf]:
    """The tensors of a structure, in order."""
    if isinstance(abstract, Leaf):
        yield abstract
    elif isinstance(abstract, Group):
        for part in abstract.parts:
            yield from leaves(part)


def with_leaves(abstract: Abstract, new: Iterator[Leaf]) -> Abstract:
    """The same structure around other tensors."""
    if isinstance(abstract, Leaf):
        return next(new)
    if isinstance(abstract, Group):
        return Group(abstract.kind, tuple(with_leaves(part, new) for part in abstract.parts), abstract.keys)
    return abstract


def tree(abstract: Abstract) -> Tree:
    """The structure alone, for those who put pieces together."""
    if isinstance(abstract, Leaf):
        return LEAF
    if isinstance(abstract, Group):
        return [tree(part) for part in abstract.parts]
    return None


def paths(abstract: Abstract, path: str) -> Iterator[str]:
    """Python expressions of the tensors of a structure, `path` being that of the structure."""
    if isinstance(abstract, Leaf):
        yield path
    elif isinstance(abstract, Group):
        keys = abstract.keys if abstract.kind == "dict" else range(len(abstract.parts))
        for key, part in zip(keys, abstract.parts, strict=True):
            yield from paths(part, f"{path}[{key!r}]")


def has_dictionary(abstract: Abstract) -> bool:
    """Whether there is a dictionary in a structure."""
    return isinstance(abstract, Group) and (abstract.kind == "dict" or any(map(has_dictionary, abstract.parts)))


def written(abstract: Abstract, leaf: Callable[[], str], fixed: Callable[[Fixed], str]) -> str:
    """A Python expression of that structure, its tensors and constants as the functions say."""
    if isinstance(abstract, Leaf):
        return leaf()
    if isinstance(abstract, Fixed):
        return fixed(abstract)
    parts = [written(part, leaf, fixed) for part in abstract.parts]
    if abstract.kind == "dict":
        return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(abstract.keys, parts, strict=True)) + "}"
    inner = ", ".join(parts)
    if abstract.kind == "list":
        return f"[{inner}]"
    return f"({inner},)" if parts else "()"


def answer(result: Abstract) -> dict[str, Any]:
    """What `__infer__` says of a stand-in's result: a tensor, or a tuple of the tensors of the structure."""
    if isinstance(result, Leaf):
        return {"shape": list(result.shape), "dtype": _tensor_type(result), "value": None}
    found = list(leaves(result))
    return {
        "shape": tuple(list(leaf.shape) for leaf in found),
        "dtype": tuple(map(_tensor_type, found)),
        "value": None,
    }


def _tensor_type(leaf: Leaf) -> Any:
    return mindspore.TensorType(element_type(leaf.dtype))


def element_type(name: str) -> Any:
    """MindSpore's element type of that name."""
    return getattr(mindspore, "bool_" if name == "bool" else name)


def places(result: Abstract, arguments: Sequence[Abstract]) -> tuple[int, ...] | None:
    """Which tensors of the arguments those of the result are like; None where one is like none."""
    given = [leaf for argument in arguments for leaf in leaves(argument)]
    found = list(leaves(result))
    return tuple(map(given.index, found)) if set(found) <= set(given) else None
