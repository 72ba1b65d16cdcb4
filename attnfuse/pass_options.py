"""Options of passes: the fields of their classes, set by name from the command line and the policy file.

A value is checked by pydantic, by the field's type, so `Annotated[int, Field(ge=1)]` says more than `int`. A class may
refuse what does not go together with a ValueError of its `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from attnfuse.errors import PolicyError
from attnfuse.names import suggestion
from attnfuse.policy import PassOption

_Step = TypeVar("_Step")


def names(step: object) -> tuple[str, ...]:
    """The options that a pass has."""
    return tuple(field.name for field in dataclasses.fields(step)) if dataclasses.is_dataclass(step) else ()


def values(step: object) -> dict[str, Any]:
    """The options of a pass as plain JSON values, by name."""
    return {name: _adapter(step, name).dump_python(getattr(step, name), mode="json") for name in names(step)}


def configured(steps: Mapping[str, _Step], options: Iterable[PassOption]) -> tuple[_Step, ...]:
    """The passes, by id, with these options; where one is given twice the last counts.

    Raises PolicyError, with where the option was given, for a pass or an option that there is not, and for a value that
    the option does not take.
    """
    given: dict[str, dict[str, tuple[PassOption, Any]]] = {}
    for option in options:
        step = steps.get(option.step)
        if step is None:
            raise PolicyError(f"{option.where}: there is no pass {option.step!r}; {suggestion(option.step, steps)}")
        if option.option not in names(step):
            raise PolicyError(f"{option.where}: {_no_such_option(option, names(step))}")
        given.setdefault(option.step, {})[option.option] = option, _value(step, option)
    return tuple(_with(step, given[name]) if name in given else step for name, step in steps.items())


def _no_such_option(option: PassOption, known: Sequence[str]) -> str:
    if not known:
        return f"the pass {option.step!r} has no options."
    return f"the pass {option.step!r} has no option {option.option!r}; {suggestion(option.option, known)}"


def _adapter(step: object, name: str) -> TypeAdapter[Any]:
    """What checks an option of a pass: made once, as that takes longer than a small graph takes all passes."""
    kind: Any = type(step)
    return _adapter_of(kind, name)


@cache
def _adapter_of(kind: Any, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(kind, include_extras=True)[name])


def _value(step: object, option: PassOption) -> Any:
    adapter = _adapter(step, option.option)
    try:
        if not option.is_text:
            return adapter.validate_json(json.dumps(option.value), strict=True)  # an array is a tuple there
        return _of_text(adapter, option.value)
    except ValidationError as error:
        raise PolicyError(
            f"{option.where}: the option {option.step}.{option.option} is {option.value!r}; "
            f"{_what_is_wrong(error.errors()[0], option.value)}"
        ) from None


def _what_is_wrong(error: ErrorDetails, value: object) -> str:
    if error["type"] == "literal_error":
        return suggestion(str(value), re.findall(r"'([^']*)'", str(error["ctx"]["expected"])))
    return f"{error['msg'][0].lower()}{error['msg'][1:]}."


def _of_text(adapter: TypeAdapter[Any], text: str) -> Any:
    """A number or a word as it stands; what is more than one, as JSON."""
    try:
        return adapter.validate_strings(text)
    except ValidationError:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":
                return adapter.validate_strings(text)
            raise


def _with(step: _Step, given: Mapping[str, tuple[PassOption, Any]]) -> _Step:
    assert dataclasses.is_dataclass(step)
    assert not isinstance(step, type)
    try:
        return dataclasses.replace(step, **{name: value for name, (_, value) in given.items()})
    except ValueError as error:
        where = ", ".join(dict.fromkeys(option.where for option, _ in given.values()))
        raise PolicyError(f"{where}: {str(error).rstrip('.')}.") from None
