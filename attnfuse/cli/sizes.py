"""The option for several sizes: one set of weights, and a graph for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from attnfuse.errors import UsageError
from attnfuse.tracing.contract import ShapeOptions, Size

_PARTS = {"batch": "batch", "frames": "frames", "tokens": "sequence_length"}


class SizeSpec(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases
    """What graphs are for beside the options: `768x512` (width and height), `batch=4`, `frames=49`, `tokens=154`, or
    several of them with commas between; comes to shapes by the names of `ShapeOptions`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """Fails for what is no such text."""
        found: dict[str, int] = {}
        for part in str(value).split(","):
            sides, key = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", part), part.partition("=")
            if sides is not None and "width" not in found:
                found |= {"width": int(sides[1]), "height": int(sides[2])}
            elif key[0] in _PARTS and _PARTS[key[0]] not in found and re.fullmatch("[0-9]{1,9}", key[2]):
                found[_PARTS[key[0]]] = int(key[2])
            else:
                self.fail(f"{value!r} is no size; give one such as 768x512, batch=4 or 768x512,frames=49,tokens=154.")
        return found


size_option = click.option(
    "--size",
    "sizes",
    type=SizeSpec(),
    multiple=True,
    metavar="WxH[,batch=N][,frames=N][,tokens=N]",
    help="Compile for these sizes, with one set of weights; repeatable: the first is that of --width ….",
)


def sizes_of(sizes: Sequence[Mapping[str, Any]], shapes: ShapeOptions) -> tuple[ShapeOptions, tuple[Size, ...]]:
    """The shapes of the first size, and the others. Raises UsageError where `shapes` say one of them too."""
    for name in dict.fromkeys(name for size in sizes for name in size):
        if getattr(shapes, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} and --size both tell it; drop one.")
    if not sizes:
        return shapes, ()
    first, *others = (replace(shapes, **size) for size in sizes)
    return first, tuple(Size(_label(size), made) for size, made in zip(sizes[1:], others, strict=True))


def _label(size: Mapping[str, int]) -> str:
    sides = [f"{size['width']}x{size['height']}"] if "width" in size else []
    return "_".join([*sides, *(f"{key}{size[name]}" for key, name in _PARTS.items() if name in size)])
