"""What a run is asked for, looked at before it begins: prompts, seeds, sizes, and what graphs have fixed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attnfuse_runtime import noise, prompts
from attnfuse_runtime.errors import InputError
from attnfuse_runtime.manifest import Component, Size
from attnfuse_runtime.noise import Generators
from attnfuse_runtime.prompts import Prompt


def prompts_of(texts: str | Sequence[str], *, weighted: bool = False) -> list[Prompt]:
    """The prompts of texts; `weighted` ones have marks. Raises InputError where there is none, or one is no text."""
    several = [texts] if isinstance(texts, str) else texts
    for text in several:
        # What a terminal of another encoding hands over: Python keeps its bytes as halves of surrogate pairs.
        if text != text.encode(errors="ignore").decode():
            raise InputError(f"the prompt {text!r} holds bytes that are no text in UTF-8; give it in that encoding.")
    if not several:
        raise InputError("no prompt was given; give one.")
    return [prompts.weighted(text) if weighted else Prompt(text) for text in several]


def negative_of(given: str | Sequence[str] | None, count: int, *, weighted: bool = False) -> list[Prompt] | None:
    """One for each prompt, None where nothing was said. Raises InputError for another number, and as `prompts_of`."""
    if given is None:
        return None
    texts = [given] * count if isinstance(given, str) else given
    if len(texts) != count:
        raise InputError(f"{len(texts)} negative prompts were given for {count} prompts; give one for each.")
    return prompts_of(texts, weighted=weighted)


def check_numbers(**numbers: float | None) -> None:
    """Raise InputError for one that is infinite, or none at all."""
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise InputError(f"{name} is {number}; give a number.")


def generators_of(seed: int | None, generator: Generators) -> Generators:
    """What draws noise. Raises InputError where both were given."""
    if seed is not None and generator is not None:
        raise InputError("a seed and a generator were given; give one of them.")
    return noise.generator(seed) if seed is not None else generator


def refuse_other_than(components: Iterable[Component], settings: Mapping[str, Any]) -> None:
    """Raise InputError for a setting that no graph has, or that one has fixed to another value."""
    graphs = [*components]
    for name, value in settings.items():
        having = [one for one in graphs if name in one.fixed]
        if not having:
            raise InputError(f"there is no argument {name}, and no graph has fixed it; leave it out.")
        for one in having:
            if one.fixed[name] != value:
                raise InputError(
                    f"{name} is {value!r}, and the graph {one.name} has it fixed to {one.fixed[name]!r}; leave it "
                    "out, or compile for another."
                )


def of_size(sizes: Sequence[Size], count: int, height: int | None, width: int | None, frames: int | None = None) -> int:
    """Which of several sizes is asked for: the first, where nothing is, and where there is one alone.

    Of those that differ in the batch, the smallest that makes all pictures at once, or else the largest. Raises
    InputError where there are graphs for several sizes, and for none that is asked for.
    """
    if not sizes:
        return 0
    of = Size(height, width, None, {}, frames)
    of = sizes[0] if (height, width, frames) == (None, None, None) else of
    wanted = [
        (size.batch is not None and size.batch < count, abs((size.batch or count) - count), at)
        for at, size in enumerate(sizes)
        if all(one in (None, other) for one, other in zip(*map(_sides, (of, size))))
    ]
    if not wanted:
        there = ", ".join(dict.fromkeys(map(_told, sizes)))
        what = "pictures" if frames is None else "films"
        raise InputError(f"{what} of {_told(of)} were asked for, and the graphs are for {there}; ask for one of those.")
    return min(wanted)[2]


def _sides(size: Size) -> tuple[int | None, int | None, int | None]:
    return size.height, size.width, size.frames


def _told(size: Size) -> str:
    frames = "" if size.frames is None else f", {size.frames} frames"
    return f"{size.width}x{size.height}{frames}"
