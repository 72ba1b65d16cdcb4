"""Reads `--inputs FILE`: what a component is called with, for a class the table does not know (or to overrule it).

    # spec.toml: one table a component; several may belong to one part
    [my_decoder]
    part = "vae"                    # attribute of the pipeline; the component's own name if left out
    method = "decode"               # what is called; the model itself if left out
    outputs = ["image"]             # names: of the result, or of its elements if several; ["output"] if left out
    outputs = {low = "0.1", high = "1"}   # or names, and which elements: the second of the first (last: -1)
    tuples = ["pair"]               # arguments, or parts of them, that are tuples and no lists
    patches = ["masked_attention"]  # tracing patches; what the class is known to need if left out

    [my_decoder.inputs.latents]     # in the order of the graph's inputs
    shape = [1, 4, 64, 64]
    dtype = "float"                 # the type the component is traced in, or one of contract.DTYPES
    to = "z"                        # the argument, if it has another name; "kwargs.key", "pair.0", "all.1.0" for parts
                                    # ("kwargs.all.0": dictionaries and lists in each other, as deep as they are)

    [my_decoder.fixed]              # arguments that are no tensors
    return_dict = false
    img_shapes = [[[1, 16, 16]]]    # lists and tables too
    kwargs = {scale = 1.0}          # beside the tensors that go into the same dictionary

Elements of results that are dictionaries have their keys: `outputs = {image = "0.sample"}`.

Imports `contract` and `specs.patch_names` of this package, `attnfuse.documents`, `attnfuse.errors`, `attnfuse.names`
and pydantic.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, ValidationError

from attnfuse import documents
from attnfuse.errors import UsageError
from attnfuse.names import suggestion
from attnfuse.tracing.contract import DTYPES
from attnfuse.tracing.specs.patch_names import PATCHES

_DTYPES = ("float", *DTYPES)

#: Numbers of elements (from the end where negative) or keys, from without to within.
_PLACE = re.compile(r"(-?[0-9]+|[A-Za-z_][A-Za-z0-9_]*)(\.(-?[0-9]+|[A-Za-z_][A-Za-z0-9_]*))*")


@dataclass(frozen=True, slots=True)
class GivenInput:
    """One tensor: its name, shape, type ("float" or one of `contract.DTYPES`) and argument."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    to: str


@dataclass(frozen=True, slots=True)
class GivenCall:
    """What one component is called with: see the module's docstring.

    An output is a name and its place in the result, empty for the whole. `tuples` are arguments, or places in them,
    that are tuples; `patches` are None where they are left to what is known of the class.
    """

    component: str
    part: str
    method: str
    inputs: tuple[GivenInput, ...]
    fixed: Mapping[str, JsonValue]
    outputs: tuple[tuple[str, str], ...]
    tuples: tuple[str, ...] = ()
    patches: tuple[str, ...] | None = None


_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Input(BaseModel):
    model_config = _STRICT

    shape: list[Annotated[int, Field(ge=1)]]
    dtype: Literal["float", "float16", "bfloat16", "float32", "int64", "int32", "bool"] = "float"
    to: str = ""


class _Component(BaseModel):
    model_config = _STRICT

    part: str = ""
    method: str = ""
    inputs: Annotated[dict[str, _Input], Field(min_length=1)]
    fixed: dict[str, JsonValue] = {}
    tuples: list[str] = []
    patches: list[str] | None = None
    outputs: Annotated[
        Annotated[list[str], Field(min_length=1), Tag("list")]
        | Annotated[dict[str, str], Field(min_length=1), Tag("table")],
        # Told by its kind, a mistake in either is told alone.
        Discriminator(lambda value: "table" if isinstance(value, dict) else "list"),
    ] = ["output"]


def read_inputs(path: Path) -> tuple[GivenCall, ...]:
    """Read such a file. Raises UsageError, naming the nearest key that is known, for what it does not understand."""
    try:
        document = documents.parse(documents.read_text(path), "TOML")
    except (OSError, ValueError) as error:
        raise UsageError(f"the inputs {path} cannot be read as TOML: {documents.reason(error)}.") from None
    if not document:
        raise UsageError(f"the inputs {path} name no component; give a table [NAME] with [NAME.inputs.…].")
    return tuple(_component(f"{path.name} [{name}]", name, content) for name, content in document.items())


def _component(where: str, name: str, content: Any) -> GivenCall:
    if not isinstance(content, dict):
        raise UsageError(f"{where} is not a table; a component is one: [NAME] with [NAME.inputs.…].")
    try:
        read = _Component.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{where}: {_sentence(error)}") from None
    # They become a piece of Python that is traced: nothing but names may get in.
    _check_name(where, name)
    for given in (*read.inputs, *read.fixed, *read.outputs, *filter(None, (read.part, *read.method.split(".")))):
        _check_name(where, given)
    for given in read.outputs:
        if list(read.outputs).count(given) > 1:
            raise UsageError(f"{where}: two outputs are called {given!r}; give each a name of its own.")
    inputs = []
    for given, entry in read.inputs.items():
        for i, word in enumerate(entry.to.split(".") if entry.to else ()):
            if not (i and word.isascii() and word.isdigit()):
                _check_name(f"{where} inputs.{given}: to", word)
        inputs.append(GivenInput(given, tuple(entry.shape), entry.dtype, entry.to))
    _check_arguments(where, inputs, read.fixed)
    _check_elements(where, [one.to or one.name for one in inputs])
    _check_tuples(where, read.tuples, [one.to or one.name for one in inputs])
    for patch in read.patches or ():
        if patch not in PATCHES:
            raise UsageError(f"{where}: there is no tracing patch {patch!r}; {suggestion(patch, PATCHES)}")
    return GivenCall(
        name,
        read.part or name,
        read.method,
        tuple(inputs),
        read.fixed,
        _outputs(where, read.outputs),
        tuple(read.tuples),
        None if read.patches is None else tuple(read.patches),
    )


def _check_tuples(where: str, tuples: Sequence[str], places: Sequence[str]) -> None:
    """Raise UsageError for a tuple that holds no input."""
    for name in tuples:
        if not any(place.startswith(f"{name}.") and place[len(name) + 1].isdigit() for place in places):
            raise UsageError(f"{where}: tuples has {name!r}, of which no input is an element (as {name}.0 is).")


def flattened(fixed: Mapping[str, JsonValue], places: Collection[str]) -> dict[str, JsonValue]:
    """The fixed arguments by place: a dictionary that inputs go into as well by its keys, all else whole."""
    found: dict[str, JsonValue] = {}
    for name, value in fixed.items():
        if isinstance(value, dict) and value and any(place.startswith(f"{name}.") for place in places):
            inner = {place[len(name) + 1 :] for place in places if place.startswith(f"{name}.")}
            found |= {f"{name}.{key}": one for key, one in flattened(value, inner).items()}
        else:
            found[name] = value
    return found


def _check_arguments(where: str, inputs: Sequence[GivenInput], fixed: Mapping[str, JsonValue]) -> None:
    """Raise UsageError where an argument, or a part of one, is given twice: one of the two would be lost."""
    given = {f"fixed.{name}": name for name in flattened(fixed, {(one.to or one.name) for one in inputs})}
    for one in inputs:
        place = one.to or one.name
        for other, taken in given.items():
            if f"{place}.".startswith(f"{taken}.") or f"{taken}.".startswith(f"{place}."):
                raise UsageError(f"{where}: {other} and inputs.{one.name} both go to the argument {taken!r}; drop one.")
        given[f"inputs.{one.name}"] = place


def _check_elements(where: str, places: Sequence[str]) -> None:
    """Raise UsageError where elements of a tuple are not given as 0, 1, 2, … in their order."""
    inner: dict[str, list[str]] = {}
    for place in places:
        first, _, rest = place.partition(".")
        inner.setdefault(first, []).append(rest)
    numbers = [first for first in inner if first.isdigit()]
    if numbers and list(inner) != [str(number) for number in range(len(inner))]:
        raise UsageError(f"{where}: its elements are {', '.join(inner)}; give all of them, in order, as 0, 1, ….")
    for first, rests in inner.items():
        if any(rests):
            _check_elements(f"{where}.{first}" if numbers else f"{where} inputs to {first!r}", [r for r in rests if r])


def _outputs(where: str, given: list[str] | dict[str, str]) -> tuple[tuple[str, str], ...]:
    if isinstance(given, dict):
        for name, place in given.items():
            if not _PLACE.fullmatch(place):
                raise UsageError(f"{where}: outputs.{name} is {place!r}, not which element of the result, as '0.1'.")
        return tuple(given.items())
    several = len(given) > 1
    return tuple((name, str(i) if several else "") for i, name in enumerate(given))


def _check_name(where: str, name: str) -> None:
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name) or name in ("self", "result"):
        raise UsageError(f"{where}: {name!r} is no name that a component or an argument can have.")


def _sentence(error: ValidationError) -> str:
    """The first mistake, with where it is and the nearest right key."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = list((_Input if "inputs" in first["loc"] else _Component).model_fields)
        return f"unknown key {place!r}; {suggestion(str(first['loc'][-1]), known)}"
    if first["loc"][-1:] == ("dtype",):
        return f"{place} is {first['input']!r}, not one of {', '.join(_DTYPES)}."
    return f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}."
