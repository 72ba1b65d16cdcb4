"""Which cells compute the same: a digest of all that a cell's graph can depend on, but not of its weights' names.

What goes in: the class; every Python attribute, of child cells too; hooks; attention processors and other plain objects
of mindone and transformers, by what they hold; types and shapes of parameters, and which of them are one; tensors and
arrays by their content. What is of an unknown kind tells a cell apart from every other, as nothing is known of what it
does to a graph. Worker side.

A digest is the same in another process, so that what was traced there stands for the cell, where nothing went in that
is known here alone: classes and functions of the packages whose versions or sources a cache looks at are known by name,
all others by where they lie in memory.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import mindspore
import numpy as np
from mindspore import nn

#: Attributes that every Cell has and that say which cell it is, or what was compiled of it, and not what it computes.
#: The containers of children, parameters, primitives and buffers are looked at one by one.
_IDENTITY = frozenset(
    {
        "_buffers",
        "_cell_init_args",
        "_cells",
        "_compile_cache",
        "_create_time",
        "_exist_names",
        "_exist_objs",
        "_id",
        "_lazy_construct_sig",
        "_lazy_user_parameters",
        "_param_prefix",
        "_params",
        "_params_list",
        "_phase_cache",
        "_primitives",
        "_scope",
        "arguments_key",
        "is_top_cell",
    }
)
_PLAIN = (bool, int, float, complex, str, bytes, range, slice, type(None), type(Ellipsis), np.generic, np.dtype)
_PACKAGES = ("mindone", "transformers", "attnfuse")
"""Whose objects hold nothing that a graph could depend on but their attributes."""
_BY_NAME = (*_PACKAGES, "mindspore", "builtins", "collections")
"""Whose classes and functions are the same in every process that a cache takes for one."""
_WHENCE = frozenset({"_name_or_path", "_commit_hash"})
"""Attributes of configurations that say where a model lies, and nothing of it."""
_HERE = "\0here"
"""Begins what is known in this process alone."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is known of one cell.

    Cells of one `digest` compute the same, with `parameters` in corresponding places. `size` counts cells, itself
    included.
    """

    digest: str
    parameters: tuple[Any, ...]
    size: int

    @property
    def lasts(self) -> bool:
        """Whether the digest is that of an equal cell in another process too."""
        return not self.digest.startswith(_HERE)


class Fingerprints:
    """Fingerprints of cells, each worked out once: cells must not change meanwhile."""

    def __init__(self) -> None:
        self._known: dict[int, Fingerprint] = {}
        self._objects: dict[int, Any] = {}
        self._open: set[int] = set()
        self._kept: list[Any] = []  # an id is that of an object only while there is one
        self._unknown = 0

    def of(self, cell: Any) -> Fingerprint:
        """The fingerprint of a cell."""
        found = self._known.get(id(cell))
        if found is None:
            found = self._known[id(cell)] = self._work_out(cell)
            self._kept.append(cell)
        return found

    def _work_out(self, cell: Any) -> Fingerprint:
        kind = type(cell)
        children = [(name, None if child is None else self.of(child)) for name, child in cell._cells.items()]
        parameters = [p for _, child in children if child is not None for p in child.parameters]
        members: list[Any] = [(name, child and child.digest) for name, child in children]
        for name, parameter in cell._params.items():
            members.append((name, None if parameter is None else _parameter(parameter)))
            parameters += [] if parameter is None else [parameter]
        for name, several in cell._params_list.items():
            members.append((name, [_parameter(parameter) for parameter in several]))
            parameters += several
        for values in (cell._primitives, cell._buffers):
            members += [(name, self._value(value, cell)) for name, value in values.items()]
        own = {name: value for name, value in vars(cell).items() if name not in _IDENTITY}
        members += [(n, self._none() if _is_hook(n, value) else self._value(value, cell)) for n, value in own.items()]
        # A weight that stands in two places: which places, is part of what the cell computes.
        first: dict[int, int] = {}
        places = [first.setdefault(id(parameter), place) for place, parameter in enumerate(parameters)]
        text = repr((_class(kind), cell._auto_prefix, members, places))
        return Fingerprint(
            _text_digest(text),
            tuple(parameters),
            1 + sum(child.size for _, child in children if child is not None),
        )

    def _value(self, value: Any, cell: Any) -> Any:
        """What tells a value of an attribute from others; `cell` is whose attribute it is."""
        if isinstance(value, enum.Enum):
            return ("enum", _class(type(value)), value.name)
        if isinstance(value, _PLAIN):
            return (type(value).__name__, repr(value))
        if isinstance(value, mindspore.Parameter):
            return ("a parameter that is no child", self._only_itself())
        if isinstance(value, mindspore.Tensor):
            return tensor_text(value)
        if isinstance(value, np.ndarray):
            return ("array", value.shape, str(value.dtype), _digest(value)) if value.dtype.kind != "O" else self._none()
        if isinstance(value, mindspore._c_expression.typing.Type):
            return ("type", str(value))
        if isinstance(value, nn.Cell):  # no child: the very same cell, or its fingerprint would have to be looked into
            return ("cell", self._identity(value))
        if isinstance(value, mindspore.ops.Primitive):
            return self._object(value, cell)
        if isinstance(value, (list, tuple)):
            return (type(value).__name__, [self._value(element, cell) for element in value])
        if isinstance(value, (set, frozenset)):
            return (type(value).__name__, sorted(repr(self._value(element, cell)) for element in value))
        if isinstance(value, Mapping):
            told = {key: held for key, held in value.items() if key not in _WHENCE}
            pairs = [(self._value(key, cell), self._value(held, cell)) for key, held in told.items()]
            return ("mapping", _class(type(value)), pairs, self._attributes(value, cell))
        return self._callable(value, cell)

    def _callable(self, value: Any, cell: Any) -> Any:
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
            return ("function", self._function(value))
        if isinstance(value, types.MethodType):
            owner = "self" if value.__self__ is cell else self._identity(value.__self__)
            return ("method", self._function(value.__func__), owner)
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return ("partial", [self._value(part, cell) for part in parts])
        if type(value).__module__.partition(".")[0] in _PACKAGES:
            return self._object(value, cell)
        return self._none()

    def _function(self, value: Any) -> Any:
        return _name(value) if _is_found_by_name(value) else self._identity(value)

    def _object(self, value: Any, cell: Any) -> Any:
        """A plain object, as an attention processor or a configuration is, or a primitive: its class and attributes."""
        if not hasattr(value, "__dict__") or hasattr(type(value), "__slots__"):
            return self._none()
        if id(value) in self._open:  # an object that holds itself
            return self._none()
        if id(value) not in self._objects:
            self._open.add(id(value))
            text = repr(("object", _class(type(value)), self._attributes(value, cell)))
            self._open.remove(id(value))
            self._objects[id(value)] = _text_digest(text)
            self._kept.append(value)
        return self._objects[id(value)]

    def _attributes(self, value: Any, cell: Any) -> Any:
        held = getattr(value, "__dict__", {})
        return [(name, self._value(one, cell)) for name, one in sorted(held.items()) if name not in _WHENCE]

    def _none(self) -> Any:
        return ("of an unknown kind", self._only_itself())

    def _only_itself(self) -> str:
        self._unknown += 1
        return f"{_HERE} unknown {self._unknown}"

    def _identity(self, value: Any) -> str:
        """What no other object gets, as this one is kept."""
        self._kept.append(value)
        return f"{_HERE} {id(value)}"


def tensor_text(tensor: Any) -> str:
    """A text that is the same for tensors of one type and content."""
    array = tensor.float().asnumpy() if tensor.dtype == mindspore.bfloat16 else tensor.asnumpy()
    return f"tensor {tuple(tensor.shape)} {tensor.dtype} {_digest(array)}"


def _digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _parameter(parameter: Any) -> Any:
    held = {name: value for name, value in vars(parameter).items() if isinstance(value, (bool, int, str))}
    kind = type(parameter)
    # MindSpore makes the class of parameters while it runs: one that adds nothing to what it is made of.
    made = mindspore.Parameter._base_type.values()
    told = [_class(base) for base in kind.__bases__] if kind in made else _class(kind)
    return (told, tuple(parameter.shape), str(parameter.dtype), parameter.requires_grad, held)


def _class(kind: type) -> Any:
    return _name(kind) if _is_found_by_name(kind) else (*_name(kind), f"{_HERE} {id(kind)}")


def _name(value: Any) -> tuple[str, str]:
    return (value.__module__ or "", value.__qualname__)


def _is_found_by_name(value: Any) -> bool:
    """Whether the name of a class or function is its own, and of a package that is the same in other processes."""
    module, name = _name(value)
    if module.partition(".")[0] not in _BY_NAME:
        return False
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def _text_digest(text: str) -> str:
    """The digest of what goes in, which tells whether some of it is known here alone."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{_HERE} {digest}" if repr(_HERE)[1:-1] in text else digest


def _is_hook(name: str, value: Any) -> bool:
    """Whether hooks are registered under an attribute: MindSpore's are called so, and empty where there are none.

    Hooks of loading and saving states are none of the graph's.
    """
    return "_hook" in name and "state_dict" not in name and bool(value)


def repeated(cells: Iterable[Any], prints: Fingerprints) -> dict[str, int]:
    """How often each fingerprint is there among these cells."""
    counts: dict[str, int] = {}
    for cell in cells:
        digest = prints.of(cell).digest
        counts[digest] = counts.get(digest, 0) + 1
    return counts
