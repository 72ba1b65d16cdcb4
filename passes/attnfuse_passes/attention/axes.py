"""The algebra of layouts: how the axes of a tensor relate to the axes of the value it was made from.

A tensor made from a source by reshapes, transposes and repeats is described by *atoms*. The source's shape, read in
row-major order, is a list of atoms; each axis of the tensor is a list of atoms too (the first one outermost). An
atom of the tensor that the source lacks is a repetition: the tensor does not depend on it. An axis of one element
has no atoms.

    x[B, S, N·D] → Reshape [B, S, N, D] → Transpose(0, 2, 1, 3) → Reshape [B·N, S, D]
    source: b s n d        axes: (b n) (s) (d)

Several tensors live in one `Space`: where an operator pairs two axes (a matrix product, an addition), their atoms
are made the same, splitting them where one side is finer. After that, "the same atom" means "the same index", and
questions such as "is this k repeated per head, in which order" are read off.

An atom of size -1 is a dimension that is not known before run time: it can be moved and paired, never split.

The blocks of a model are alike, and so is what is asked of their spaces: a change that some space has seen, of views
that came about alike, is not worked out again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import wraps
from operator import attrgetter, is_
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

UNKNOWN = -1
_MOST_STATES = 1 << 12
"""Spaces that are remembered: more than the kinds of sites in a model come by."""
_C = TypeVar("_C", bound=Callable[..., Any])


class Atom(NamedTuple):
    """An index that ranges over `size` values; `key` tells atoms of one space apart."""

    key: int
    size: int


Axis: TypeAlias = tuple[Atom, ...]
_KEY = attrgetter("key")


def product(atoms: Sequence[Atom]) -> int:
    """Number of index values of an axis; -1 where one of its atoms is unknown."""
    total = 1
    for atom in atoms:
        if atom.size == UNKNOWN:
            return UNKNOWN
        total *= atom.size
    return total


def keys(atoms: Sequence[Atom]) -> tuple[int, ...]:
    """The atoms' keys, for comparing axes."""
    return tuple(map(_KEY, atoms))


class View(NamedTuple):
    """A tensor's axes in terms of its source's atoms."""

    source: Axis
    axes: tuple[Axis, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(map(product, self.axes))

    @property
    def repeated(self) -> frozenset[int]:
        """Keys of the atoms the tensor does not depend on."""
        own = set(keys(self.source))
        return frozenset(atom.key for axis in self.axes for atom in axis if atom.key not in own)

    def transpose(self, order: Sequence[int]) -> View:
        """Axis i of the result is axis `order[i]` of this tensor."""
        return View(self.source, tuple([self.axes[i] for i in order]))

    def substitute(self, key: int, parts: Axis) -> View:
        """The same view with one atom written as a product of others (or as one other)."""

        def swap(axis: Axis) -> Axis:
            for atom in axis:
                if atom.key == key:
                    return tuple(part for atom in axis for part in (parts if atom.key == key else (atom,)))
            return axis

        source, axes = swap(self.source), tuple([swap(axis) for axis in self.axes])
        is_same = source is self.source and all(map(is_, axes, self.axes))
        return self if is_same else View(source, axes)

    def apply(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The tensor's value, given its source's; for tests and for folding constants. All sizes must be known."""
        own = keys(self.source)
        flat = [atom for axis in self.axes for atom in axis]
        present = [atom.key for atom in flat if atom.key in own]
        value = array.reshape([atom.size for atom in self.source]).transpose([own.index(key) for key in present])
        value = value.reshape([atom.size if atom.key in own else 1 for atom in flat])
        return np.broadcast_to(value, [atom.size for atom in flat]).reshape(self.dims)


class _State:
    """The views of a space at one time, the number of its last atom, and what each change made of it."""

    __slots__ = ("after", "last", "views")
    count = 0
    start: _State

    def __init__(self, views: dict[str, View], last: int) -> None:
        self.views = views
        self.last = last
        self.after: dict[Hashable, tuple[_State, Any]] = {}
        _State.count += 1

    @classmethod
    def empty(cls) -> _State:
        """No views: where every space begins. Past a number of states, all are forgotten."""
        if cls.count > _MOST_STATES or not cls.count:
            cls.count, cls.start = 0, cls({}, 0)
        return cls.start


def _change(method: _C) -> _C:
    """A method that changes the views and depends on nothing else but its arguments: worked out once for equal ones."""

    @wraps(method)
    def change(self: Space, *arguments: Any, **flags: Any) -> Any:
        if self._changing:
            return method(self, *arguments, **flags)
        before = self._state
        key = (method.__name__, *map(_hashable, arguments), *flags.items())
        found = before.after.get(key)
        if found is None:
            self._views, self._changing = dict(before.views), True
            try:
                result = method(self, *arguments, **flags)
            finally:
                self._changing = False
            found = before.after[key] = _State(self._views, self._last), result
        self._state, result = found
        self._views, self._last = self._state.views, self._state.last
        return result

    return cast(_C, change)


def _hashable(argument: Any) -> Any:
    if isinstance(argument, list):
        return tuple(argument)
    return tuple(argument.items()) if isinstance(argument, dict) else argument


class Space:
    """Views that share atoms. Names are the caller's; splitting an atom splits it in every view."""

    def __init__(self) -> None:
        self._state = _State.empty()
        self._views = self._state.views
        self._last = self._state.last
        self._changing = False

    def __getitem__(self, name: str) -> View:
        return self._views[name]

    def __contains__(self, name: str) -> bool:
        return name in self._views

    @_change
    def put(self, name: str, view: View) -> None:
        """Register a view made from views of this space."""
        self._views[name] = view

    @_change
    def identity(self, name: str, dims: Sequence[int]) -> View:
        """Register a fresh source of the given shape: each axis one atom of its own."""
        axes = tuple(() if dim == 1 else (self.fresh(dim),) for dim in dims)
        view = View(tuple(atom for axis in axes for atom in axis), axes)
        self._views[name] = view
        return view

    def branch(self) -> Space:
        """The same views, to be changed apart from these."""
        other = Space()
        other._state, other._views, other._last = self._state, self._views, self._last
        return other

    @_change
    def fresh(self, size: int) -> Atom:
        """A new atom."""
        self._last += 1
        return Atom(self._last, size)

    @_change
    def split(self, atom: Atom, inner: int) -> Axis:
        """Write an atom of known size as outer × inner, everywhere; `inner` must divide its size."""
        parts = (self.fresh(atom.size // inner), self.fresh(inner))
        self._substitute(atom.key, parts)
        return parts

    def _substitute(self, key: int, parts: Axis) -> None:
        for name, view in self._views.items():
            self._views[name] = view.substitute(key, parts)

    # --- layout changes

    @_change
    def transpose(self, name: str, order: Sequence[int]) -> None:
        """Permute the axes of a view."""
        self._views[name] = self._views[name].transpose(order)

    @_change
    def reshape(self, name: str, dims: Sequence[int], kept: Mapping[int, int] | None = None) -> bool:
        """Regroup the atoms of a view to another shape; False where the shapes do not factor along them.

        `kept` says of axes of unknown size in `dims` which axis of the view they are.
        """
        axes_of = self._views[name].axes
        wanted: list[int | Axis] = list(dims)
        for axis, own in (kept or {}).items():
            wanted[axis] = axes_of[own]
        if wanted.count(UNKNOWN) > 1:
            return False
        pivot = wanted.index(UNKNOWN) if UNKNOWN in wanted else len(dims)
        left = self._take(name, wanted[:pivot], from_right=False)
        if left is None:
            return False
        right = self._take(name, wanted[pivot + 1 :][::-1], from_right=True, after=sum(left))
        if right is None:
            return False
        # The groups are read again by length: taking the later ones may have split atoms of the earlier ones.
        flat = [atom for axis in self._views[name].axes for atom in axis]
        middle = len(flat) - sum(left) - sum(right)
        if middle < 0 or (pivot == len(dims) and middle):
            return False
        groups = [*left, *([middle] if pivot < len(dims) else []), *reversed(right)]
        axes: list[Axis] = []
        start = 0
        for length in groups:
            axes.append(tuple(flat[start : start + length]))
            start += length
        if pivot < len(dims) and not kept and product(axes[pivot]) != UNKNOWN:
            return False
        self._views[name] = View(self._views[name].source, tuple(axes))
        return True

    def _take(self, name: str, dims: Sequence[int | Axis], *, from_right: bool, after: int = 0) -> list[int] | None:
        """How many atoms, from one end, make up each of `dims`; splits atoms where an axis ends inside one.

        One of `dims` that is an axis stands for its own atoms.
        """
        lengths: list[int] = []
        taken = 0
        for dim in dims:
            if isinstance(dim, tuple):
                flat = [atom for axis in self._views[name].axes for atom in axis]
                start = len(flat) - taken - len(dim) if from_right else taken
                if start < (after if from_right else 0) or keys(flat[start : start + len(dim)]) != keys(dim):
                    return None
                taken += len(dim)
                lengths.append(len(dim))
                continue
            need, length = dim, 0
            while need != 1:
                flat = [atom for axis in self._views[name].axes for atom in axis]
                position = len(flat) - 1 - taken if from_right else taken
                if not 0 <= position < len(flat) or (from_right and position < after):
                    return None
                atom = flat[position]
                if atom.size == UNKNOWN or atom.size == 0 or need == 0:
                    return None
                if need % atom.size == 0:
                    need //= atom.size
                elif atom.size % need == 0:
                    self.split(atom, need if from_right else atom.size // need)
                    need = 1
                else:
                    return None
                taken += 1
                length += 1
            lengths.append(length)
        return lengths

    @_change
    def expand(self, name: str, axis: int) -> None:
        """Insert an axis of one element at `axis`."""
        view = self._views[name]
        self._views[name] = view._replace(axes=(*view.axes[:axis], (), *view.axes[axis:]))

    @_change
    def squeeze(self, name: str, axes: Sequence[int]) -> bool:
        """Drop axes of one element; False where one has more."""
        view = self._views[name]
        if any(view.axes[i] for i in axes):
            return False
        self._views[name] = view._replace(axes=tuple(a for i, a in enumerate(view.axes) if i not in set(axes)))
        return True

    @_change
    def repeat(self, name: str, axis: int, times: int, *, innermost: bool) -> None:
        """Repeat along an axis: the whole axis again and again, or (`innermost`) each element in place."""
        if times == 1:
            return
        view = self._views[name]
        extra = (self.fresh(times),)
        grown = (*view.axes[axis], *extra) if innermost else (*extra, *view.axes[axis])
        self._views[name] = view._replace(axes=(*view.axes[:axis], grown, *view.axes[axis + 1 :]))

    # --- pairing axes

    @_change
    def pair(self, one: str, axis: int, other: str, other_axis: int, *, broadcast: bool) -> bool:
        """Make axis `axis` of `one` and axis `other_axis` of `other` range over the same atoms.

        With `broadcast`, an axis of one element against a longer one is left as it is: that tensor does not depend on
        the other's atoms. False where the sizes do not agree, or do not factor along each other.
        """
        a, b = self._views[one].axes[axis], self._views[other].axes[other_axis]
        if not a or not b:
            return not (a or b) or broadcast
        if UNKNOWN in (product(a), product(b)):
            return self._pair_unknown(a, b)
        if product(a) != product(b) or product(a) == 0:
            return False
        if not self._refine(one, axis, other, other_axis) or not self._refine(other, other_axis, one, axis):
            return False
        pairs = zip(self._views[one].axes[axis], self._views[other].axes[other_axis], strict=True)
        for kept, renamed in list(pairs):
            if kept.key != renamed.key:
                self._substitute(renamed.key, (kept,))
        return True

    def _pair_unknown(self, a: Axis, b: Axis) -> bool:
        if keys(a) == keys(b):
            return True
        if len(a) != 1 or len(b) != 1:
            return False
        known = a[0] if a[0].size != UNKNOWN else b[0]
        for atom in (a[0], b[0]):
            if atom.key != known.key:
                self._substitute(atom.key, (known,))
        return True

    def _refine(self, one: str, axis: int, other: str, other_axis: int) -> bool:
        """Split the atoms of `one` so that each boundary inside the other's axis is a boundary of its own.

        Both axes are of one known size, so the atoms of `one` never run out.
        """
        position = 0
        for atom in self._views[other].axes[other_axis]:
            need = atom.size
            while need != 1:
                mine = self._views[one].axes[axis][position]
                if need % mine.size == 0:
                    need //= mine.size
                elif mine.size % need == 0:
                    self.split(mine, mine.size // need)
                    need = 1
                else:
                    return False
                position += 1
        return True


def axes_of(source: Axis, dims: tuple[int, ...]) -> list[Axis]:
    """The atoms of a value, axis by axis. Its sizes are known: a term of unknown ones is read no further."""
    axes: list[Axis] = []
    start = 0
    for dim in dims:
        end = next(n for n in range(start, len(source) + 1) if product(source[start:n]) == dim)
        axes.append(source[start:end])
        start = end
    return axes
