"""Records to plain JSON values and back: frozen dataclasses, by pydantic.

A field that is no part of the JSON is annotated `Unsaved`,
a float of a document `Number`. Imports nothing of the project.
"""

from __future__ import annotations

import json
import math
import os
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import Field, PlainSerializer, TypeAdapter, ValidationError

_T = TypeVar("_T")

Unsaved: TypeAlias = Annotated[_T, Field(exclude=True)]


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


Number: TypeAlias = Annotated[float, PlainSerializer(_plain)]
"""A float of a document for others: JSON has no infinity and no NaN, so they are text."""

_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
"""Each is made when it is asked for: to make one takes longer than many a command."""


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_json(record: Any) -> Any:
    """Plain JSON values of a record: an object with the fields in their order, a path as text."""
    # pydantic's own JSON mode has null for an infinity in a field of any type; Python's and its own readers take it.
    return json.loads(json.dumps(_adapter(type(record)).dump_python(record), default=os.fspath))


def from_json(kind: type[_T], data: Any) -> _T:
    """The record of that class that `to_json` made these values of. Raises ValueError as `parse_json` does."""
    return parse_json(kind, json.dumps(data))


def parse_json(kind: type[_T], text: str | bytes) -> _T:
    """The record of that class that a JSON text holds.

    Raises ValueError, which names the first place that is missing or wrong, for any other text.
    """
    try:
        found: _T = _adapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join([kind.__name__, *map(str, first["loc"])])
        raise ValueError(f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    return found
