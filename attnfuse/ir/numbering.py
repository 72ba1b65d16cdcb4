"""Sets of names as whole numbers, a bit for each name: what thousands of names have to do with thousands of others.

May import nothing of the project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


class Numbering:
    """A bit for each name, the same in every graph that is read with it."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._names: list[str] = []

    def bit(self, name: str) -> int:
        """The name's own; a new one where there is none."""
        place = self._places.setdefault(name, len(self._names))
        if place == len(self._names):
            self._names.append(name)
        return 1 << place

    def mask(self, names: Iterable[str]) -> int:
        """The bits of all of them."""
        mask = 0
        for name in names:
            mask |= self.bit(name)
        return mask

    def names(self, mask: int) -> Iterator[str]:
        """The names whose bits those are."""
        while mask:
            lowest = mask & -mask
            yield self._names[lowest.bit_length() - 1]
            mask ^= lowest


class Gathered:
    """What many names have together, of bits that each has. Names are looked at in blocks, each block once: those of
    one writer are nearly those of the next."""

    _BLOCK = 8
    """Bytes."""

    def __init__(self, each: Callable[[str], int], numbering: Numbering) -> None:
        self._each = each
        self._numbering = numbering
        self._known: dict[tuple[int, bytes], int] = {}

    def of(self, names: int) -> int:
        """The bits of all of those names."""
        found = 0
        data = names.to_bytes((names.bit_length() + 7) // 8, "little")
        for at in range(0, len(data), self._BLOCK):
            key = at, data[at : at + self._BLOCK]
            known = self._known.get(key)
            if known is None:
                known = 0
                for name in self._numbering.names(int.from_bytes(key[1], "little") << 8 * at):
                    known |= self._each(name)
                self._known[key] = known
            found |= known
        return found


class Closure(dict[str, int]):
    """The bits of a value and of all that is behind it: `step` gives its own, and where it goes on."""

    def __init__(self, step: Callable[[str], tuple[int, list[str]]]) -> None:
        self._step = step

    def __missing__(self, value: str) -> int:
        pending = [value]
        while pending:
            mask, onward = self._step(pending[-1])
            missing = [name for name in onward if name not in self]
            if missing:
                pending += missing
                continue
            for name in onward:
                mask |= self[name]
            self[pending.pop()] = mask
        return self[value]
