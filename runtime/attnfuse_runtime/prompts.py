"""Prompts whose words have weights: `a (red:1.3) cat with [a hat]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from attnfuse_runtime.noise import Array

_STEP: Final = 1.1
"""What a bracket that says no number multiplies, or divides, weights with."""

_MARKS: Final = re.compile(
    r"\\[()\[\]\\]|\\|\(|\[|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|\)|]|[^\\()\[\]:]+|:",
)


@dataclass(frozen=True)
class Prompt:
    """A text, and the weight of each of its characters (float32 [characters]); None where all are 1."""

    text: str
    weights: Array | None = None


def weighted(text: str) -> Prompt:
    r"""The prompt of a text with marks, which are those of most front ends of Stable Diffusion.

    `(word)` multiplies the weight of what it encloses with 1.1, `[word]` divides it by that, `(word:1.3)` multiplies it
    with 1.3; they may lie in each other. `\(`, `\)`, `\[`, `\]` and `\\` are the characters themselves. A bracket that
    is never closed goes to the end of the text, one that was never opened is a character.
    """
    characters: list[str] = []
    weights: list[float] = []
    open_at: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(bracket: str, factor: float) -> None:
        for at in range(open_at[bracket].pop(), len(weights)):
            weights[at] *= factor

    for found in _MARKS.finditer(text):
        mark, number = found.group(0), found.group(1)
        if mark in open_at:
            open_at[mark].append(len(characters))
        elif number is not None and open_at["("]:
            multiply("(", float(number))
        elif mark == ")" and open_at["("]:
            multiply("(", _STEP)
        elif mark == "]" and open_at["["]:
            multiply("[", 1 / _STEP)
        else:
            plain = mark.removeprefix("\\")
            characters += plain
            weights += [1.0] * len(plain)
    for bracket, factor in (("(", _STEP), ("[", 1 / _STEP)):
        while open_at[bracket]:
            multiply(bracket, factor)
    return Prompt("".join(characters), np.asarray(weights, np.float32))
