"""Writing a normal form down as a graph: one of the very many ways in which the same attention can be spelled.

Every choice (layouts, order, operators, where a factor stands, how a mask is made and repeated) is drawn; the result
is `Spelling`, the graph with its inputs. With a `mutation` the graph is a near miss, see `mutations.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeAlias

import numpy as np

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT32, DType
from attnfuse.mindir.schema import ModelProto
from tests.support.by_hand import in_place, nan_test, softmax, untouched
from tests.support.forms import LOWEST, Array, Form, Numbers, Term, draw_form, draw_numbers
from tests.support.graphs import GraphBuilder
from tests.support.mutations import suited
from tests.support.temperature import tempered

Axes: TypeAlias = tuple[str, ...]
"""The axes of a tensor, each the letters it is made of: ("BN", "S", "D")."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """A graph, its inputs by name, and what was drawn. The first output is the attention, with the axes `output`."""

    proto: ModelProto
    inputs: dict[str, Array]
    form: Form
    numbers: Numbers
    mutation: str | None
    output: Axes
    shows_heads: bool

    def model(self) -> Model:
        """A fresh model of a copy of the graph."""
        proto = ModelProto()
        proto.CopyFrom(self.proto)
        return Model(proto)

    def result(self, output: Array) -> Array:
        """The graph's output as [B, N, S, V]."""
        letters = "".join(self.output)
        apart = output.reshape([self.form.size(letter) for letter in letters])
        return apart.transpose([letters.index(letter) for letter in "BNSV"])


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    axes: Axes


def spell(random: Random, mutation: str | None = None, form: Form | None = None) -> Spelling:
    """A random form (or this one) in a random spelling, perhaps mutated."""
    form = form or draw_form(random, plain=mutation is not None and random.random() < 0.5)
    if mutation is not None:
        # What a mutated mask hides is not what the form says: nobody can vouch for its rows.
        form = suited(replace(form, no_fully_masked_rows=False), mutation)
    numbers = draw_numbers(form, random)
    return _Speller(random, form, numbers, mutation).spell()


class _Speller:
    def __init__(self, random: Random, form: Form, numbers: Numbers, mutation: str | None) -> None:
        self.random = random
        self.form = form
        self.numbers = numbers
        self.mutation = mutation
        self.g = GraphBuilder("spelling")
        self.inputs: dict[str, Array] = {}
        self.sizes = {letter: form.size(letter) for letter in "BNKSTDV"} | {"G": form.heads // form.kv_heads}
        # In 3-D batch and heads are one axis, in 4-D two. What is about heads only is written in 4-D.
        in_4d = mutation in ("softmax over heads", "heads and batch of mask swapped")
        in_3d = mutation in ("key permuted in 3-D", "mask tiled over heads", "scores read as another shape")
        self.lead: Axes = ("B", "N") if in_4d or (not in_3d and random.random() < 0.5) else ("BN",)
        self.extra_outputs: list[str] = []
        self.leaves = 0

    def chance(self, probability: float = 0.5) -> bool:
        return self.random.random() < probability

    # --- the whole

    def spell(self) -> Spelling:
        query, key, value, factors = self._operands()
        scores = self._scores(query, key, factors)
        weights, axes = self._softmax(scores)
        result = self._output(weights, axes, value)
        g = self.g
        result = self._arranged(result, self.random.choice([("B", "S", "NV"), result.axes, ("B", "N", "S", "V")]))
        outputs = [result.name, *self.extra_outputs]
        g.output(*outputs)
        return Spelling(
            g.build(), self.inputs, self.form, self.numbers, self.mutation, result.axes, self.lead == ("B", "N")
        )

    # --- leaves

    def _dims(self, axes: Sequence[str]) -> list[int]:
        return [int(np.prod([self.sizes[letter] for letter in axis], dtype=int)) for axis in axes]

    def _input(self, name: str, axes: Axes, array: Array, dtype: DType) -> _Tensor:
        """An input of that layout; `array` has one axis for each letter of `axes`."""
        self.inputs[name] = array.reshape(self._dims(axes))
        return _Tensor(self.g.input(name, self._dims(axes), dtype), axes)

    def _source(self, name: str, array: Array, letters: str) -> _Tensor:
        """Query, key or value as the graph gets it; `array` has the axes `letters`, batch, heads, length, size."""
        b, n, s, d = list(letters)
        shown: Axes = self.random.choice([(b, s, n + d), (b, n, s, d), (b, s, n, d), (s, b, n + d), (b + n, s, d)])
        order = [letters.index(letter) for letter in "".join(shown)]
        tensor = self._input(name, shown, array.transpose(order), self.form.dtype)
        if self.chance(0.2):
            other = self._input(f"{name}_offset", shown, np.zeros([array.shape[i] for i in order]), self.form.dtype)
            tensor = _Tensor(self.g.add(tensor.name, other.name), shown)
        return tensor

    # --- layouts

    def _reshaped(self, t: _Tensor, axes: Axes) -> _Tensor:
        if t.axes == axes:
            return t
        dims = self._dims(axes)
        if self.chance(0.3):
            dims[self.random.randrange(len(dims))] = -1
        return _Tensor(self.g.reshape(t.name, dims), axes)

    def _transposed(self, t: _Tensor, order: Sequence[int]) -> _Tensor:
        g = self.g
        axes = tuple(t.axes[i] for i in order)
        rank = len(order)
        if self.chance(0.3):
            shown = tuple(i - rank if self.chance(0.3) else i for i in order)
            return _Tensor(g.op("TransposeView", t.name, shown, dims=self._dims(axes)), axes)
        return _Tensor(g.transpose(t.name, order), axes)

    def _arranged(self, t: _Tensor, want: Axes) -> _Tensor:
        """The same numbers with other axes: apart, across, together, and now and then by a detour."""
        if t.axes == want:
            return t
        if self.chance(0.1):
            order = list(range(len(t.axes)))
            self.random.shuffle(order)
            t = self._transposed(t, order)
        have, flat = "".join(t.axes), "".join(want)
        if have != flat:
            t = self._reshaped(t, tuple(have))
            t = self._transposed(t, [have.index(letter) for letter in flat])
        if self.chance(0.1):
            t = self._reshaped(t, (flat,))
        return self._reshaped(t, want)

    def _swapped(self, t: _Tensor) -> _Tensor:
        rank = len(t.axes)
        return self._transposed(t, [*range(rank - 2), rank - 1, rank - 2])

    # --- factors

    def _scaled(self, t: _Tensor, factor: float) -> _Tensor:
        g = self.g
        dtype = g.type_of(t.name).dtype
        scalar = np.array(factor if self.chance() else [factor], dtype.numpy)
        if float(np.float64(scalar.reshape(()))) != factor:
            scalar = np.array(factor, FLOAT32.numpy)  # bfloat16 holds fewer digits
            return _Tensor(g.op("Muls", t.name, factor), t.axes)
        inverse = np.array(1 / factor, dtype.numpy)
        exact = float(np.float64(inverse)) * factor == 1.0
        match self.random.choice(["Muls", "Mul", "lum", "Div", "Divs"]):
            case "Muls":
                return _Tensor(g.op("Muls", t.name, factor), t.axes)
            case "lum":
                return _Tensor(g.node("Mul", [g.constant(scalar), t.name], g.type_of(t.name)), t.axes)
            case "Div" if exact:
                return _Tensor(g.op(self.random.choice(["Div", "RealDiv"]), t.name, inverse), t.axes)
            case "Divs" if exact:
                return _Tensor(g.op("Divs", t.name, 1 / factor), t.axes)
            case _:
                return _Tensor(g.mul(t.name, scalar), t.axes)

    # --- query, key and value

    def _operands(self) -> tuple[_Tensor, _Tensor, _Tensor, list[float]]:
        """Query [lead, S, D], key [lead, T, D], value [lead, T, V], and the factors that were not used on the way."""
        numbers, mutation = self.numbers, self.mutation
        query, key = self._source("query", numbers.query, "BNSD"), self._source("key", numbers.key, "BKTD")
        value = self._source("value", numbers.value, "BKTV")
        left: list[float] = []
        for factor in self.form.operand_factors:
            match self.random.choice(["query", "key", "later"]):
                case "query":
                    query = self._scaled(query, factor)
                case "key":
                    key = self._scaled(key, factor)
                case _:
                    left.append(factor)
        if mutation == "query read as another shape":
            query = self._arranged(query, ("B", "S", "N", "D"))
            query = _Tensor(self.g.reshape(query.name, self._dims(("S", "B", "N", "D"))), ("S", "B", "N", "D"))
        query = self._arranged(query, (*self.lead, "S", "D"))
        key, value = self._with_heads(key, "key"), self._with_heads(value, "value")
        if self.form.scores_dtype != self.form.dtype and self.chance():
            query, key = self._cast(query, self.form.scores_dtype), self._cast(key, self.form.scores_dtype)
        if mutation == "key permuted in 3-D":
            key = _Tensor(self._transposed(key, (1, 0, 2)).name, key.axes)
        elif mutation == "key and head size swapped":
            key = _Tensor(self._swapped(key).name, key.axes)
        elif mutation == "value transposed":
            value = _Tensor(self._swapped(value).name, value.axes)
        return query, key, value, left

    def _with_heads(self, t: _Tensor, name: str) -> _Tensor:
        """Key or value [.. K ..] → [lead, T, ·], its heads repeated in groups."""
        last = "D" if name == "key" else "V"
        group = self.sizes["G"]
        if group == 1:
            t = _Tensor(t.name, tuple(axis.replace("K", "N") for axis in t.axes))
            if self.mutation == "heads and batch of key swapped" and name == "key":
                t = _Tensor(t.name, tuple(axis.translate(str.maketrans("BN", "NB")) for axis in t.axes))
            return self._arranged(t, (*self.lead, "T", last))
        layouts: list[Axes] = [("B", "K", "T", last), ("B", "T", "K", last), ("BK", "T", last)]
        t = self._arranged(t, self.random.choice(layouts[:2] if self.mutation == "key heads tiled" else layouts))
        axis = next(i for i, letters in enumerate(t.axes) if "K" in letters)
        axes = tuple(letters.replace("K", "N") for letters in t.axes)
        return self._arranged(self._repeated(t, axis, group, axes), (*self.lead, "T", last))

    def _repeated(self, t: _Tensor, axis: int, times: int, axes: Axes) -> _Tensor:
        """Each element of an axis repeated in place: [a b] → [a a b b]."""
        g = self.g
        before = self._dims(t.axes)
        if self.mutation == "key heads tiled":
            return _Tensor(g.tile(t.name, [times if i == axis else 1 for i in range(len(before))]), axes)
        after = self._dims(axes)
        assert after[axis] == before[axis] * times
        choice = self.random.choice(["interleave", "interleave", "tile", "broadcast", "whole"])
        if choice == "interleave":
            where = axis - len(before) if self.chance(0.3) else axis
            repeated = g.op("RepeatInterleaveInt", t.name, times, where, after[axis], dims=after)
            return _Tensor(repeated, axes)
        if choice == "whole" and before[axis] == 1:
            if self.chance():
                return _Tensor(g.broadcast_to(t.name, after), axes)
            return _Tensor(g.tile(t.name, [times if i == axis else 1 for i in range(len(before))]), axes)
        wide = g.expand_dims(t.name, axis + 1)
        dims = list(g.dims(wide))
        if choice == "tile":
            wide = g.tile(wide, [times if i == axis + 1 else 1 for i in range(len(dims))])
        else:
            dims[axis + 1] = times
            if self.chance(0.3):
                wide = g.strided_slice(wide, [0] * len(dims), g.dims(wide))
            wide = g.broadcast_to(wide, dims)
        return _Tensor(g.reshape(wide, after), axes)

    def _cast(self, t: _Tensor, dtype: DType) -> _Tensor:
        return t if self.g.type_of(t.name).dtype == dtype else _Tensor(self.g.cast(t.name, dtype), t.axes)

    # --- products

    def _product(self, left: _Tensor, right: _Tensor) -> _Tensor:
        """left [.., r, c] · right [.., c, n], each operand transposed by a node, a flag, or not."""
        g = self.g
        axes = (*left.axes[:-1], right.axes[-1])
        flags = [False, False]
        if self.chance(0.4):
            flags = [self.chance(), self.chance()]
            left, right = (self._swapped(t) if flag else t for t, flag in zip((left, right), flags, strict=True))
            return _Tensor(g.batch_matmul(left.name, right.name, *flags), axes)
        if self.chance(0.25) and g.dims(left.name)[:-2] == g.dims(right.name)[:-2]:
            return self._contraction(left, right)
        if len(axes) == 3 and self.chance(0.6):
            return _Tensor(g.bmm(left.name, right.name), axes)
        return _Tensor(g.matmul_ext(left.name, right.name), axes)

    def _contraction(self, left: _Tensor, right: _Tensor) -> _Tensor:
        """The same by an equation, operands in any order and turned or not, or as a product that is summed."""
        g, axes = self.g, (*left.axes[:-1], right.axes[-1])
        rank = len(axes)
        if self.chance(0.3):
            both = g.mul(g.expand_dims(left.name, rank), g.expand_dims(right.name, rank - 2))
            return _Tensor(g.op("SumExt", both, (-2,), False, None), axes)
        lead = "abcd"[: rank - 2]
        names, operands = [f"{lead}rk", f"{lead}kn"], [left, right]
        for i in range(2):
            if self.chance():
                names[i] = names[i][:-2] + names[i][:-3:-1]
                operands[i] = self._swapped(operands[i])
        if self.chance(0.3):
            names.reverse()
            operands.reverse()
        return _Tensor(g.einsum(f"{','.join(names)}->{lead}rn", *(t.name for t in operands)), axes)

    def _scores(self, query: _Tensor, key: _Tensor, factors: list[float]) -> _Tensor:
        """[lead, S, T], or [lead, T, S] where the product was written the other way round."""
        form, random = self.form, self.random
        steps: list[float | Term] = [*factors, *form.steps]
        terms = list(self.numbers.terms)
        pairs: list[tuple[float | Term, Array | None]] = []
        for step in steps:
            pairs.append((step, terms.pop(0) if isinstance(step, Term) else None))
        alpha = pairs.pop(0)[0] if len(pairs) > 1 and not isinstance(pairs[0][0], Term) and self.chance(0.3) else 1
        first, numbers = pairs[0] if pairs else (1.0, None)
        is_bare = len(self.lead) == 1 and form.temperature is None
        if is_bare and isinstance(first, Term) and first.what != "fill" and self.chance(0.5):
            assert not isinstance(alpha, Term)
            assert numbers is not None
            scores = self._baddbmm(query, key, alpha, first, numbers)
            pairs.pop(0)
            alpha = 1
        elif self.chance(0.2):
            scores = self._product(key, self._swapped(query))
            if self.chance():
                scores = self._swapped(scores)
        else:
            scores = self._product(query, self._swapped(key))
        scores = self._cast(scores, form.scores_dtype)
        scores = _Tensor(tempered(self.random, self.g, form, self.numbers, self.inputs, scores.name), scores.axes)
        scores = self._mutated_scores(scores)
        if alpha != 1:
            pairs.insert(0, (alpha, None))
        for step, numbers in pairs:
            if self.chance(0.15):
                scores = self._other_rank(scores)
            if isinstance(step, Term):
                assert numbers is not None
                scores = self._masked(scores, step, numbers)
            else:
                scores = self._scaled(scores, step)
        return self._other_rank(scores) if random.random() < 0.15 else scores

    def _other_rank(self, scores: _Tensor) -> _Tensor:
        if self.mutation is not None:
            return scores
        lead: Axes = ("BN",) if len(scores.axes) == 4 else ("B", "N")
        return self._reshaped(scores, (*lead, *scores.axes[-2:]))

    def _baddbmm(self, query: _Tensor, key: _Tensor, alpha: float, term: Term, numbers: Array) -> _Tensor:
        """The mask as the first operand, which may stay 4-D beside 3-D scores."""
        g, form = self.g, self.form
        # It is added in the type of the operands, which the scores may be cast from afterwards.
        dtype = g.type_of(query.name).dtype
        written = replace(term, dtype=dtype, low=term.low if np.isinf(term.low) else max(term.low, LOWEST[dtype.name]))
        self.form = replace(form, steps=tuple(written if step is term else step for step in form.steps))
        term = written
        if self.chance(0.5) and "N" not in term.over and form.batch > 1 and form.heads > 1:
            shape = [n if n != 1 or axis in "ST" else 1 for axis, n in zip("BNST", numbers.shape, strict=True)]
            name = self._term_numbers(term, numbers.reshape(shape))
        else:
            name = self._beside(("BN", "S", "T"), term, numbers)
        beta: float = self.random.choice((1, 1.0))
        swapped = self._swapped(key)
        return _Tensor(g.baddbmm(name, query.name, swapped.name, beta, alpha), (*self.lead, "S", "T"))

    # --- masks

    def _beside(self, axes: Axes, term: Term, numbers: Array) -> str:
        """The term's tensor so that it broadcasts to scores with these axes."""
        g = self.g
        if axes[-2:] == ("T", "S"):
            if self.chance():
                name = self._beside((*axes[:-2], "S", "T"), term, numbers)
                dims = g.dims(name)
                if len(dims) < 2:
                    name = g.reshape(name, (1, *dims) if dims else (1, 1))
                rank = len(g.dims(name))
                return g.transpose(name, [*range(rank - 2), rank - 1, rank - 2])
            numbers = numbers.swapaxes(-1, -2)
        if len(axes) == 4:
            return self._term_numbers(term, self._fewer_axes(numbers))
        b, n, s, t = numbers.shape
        batch, heads = self.form.batch, self.form.heads
        if b == n == 1:
            return self._term_numbers(term, self._fewer_axes(numbers[0]))
        if b == batch and n == heads:
            return self._term_numbers(term, numbers.reshape(batch * heads, s, t))
        if n == 1:  # a mask per batch: repeated for each head in place
            name = self._term_numbers(term, numbers[:, 0])
            if self.mutation == "mask tiled over heads":
                return g.tile(name, (heads, 1, 1))
            if self.chance():
                return g.repeat_interleave(name, heads, 0)
            return g.reshape(g.tile(g.expand_dims(name, 1), (1, heads, 1, 1)), (batch * heads, s, t))
        name = self._term_numbers(term, numbers[0])
        return g.tile(name, (batch, 1, 1))

    def _fewer_axes(self, numbers: Array) -> Array:
        """Leading axes of one element may be left out."""
        while numbers.ndim > 1 and numbers.shape[0] == 1 and self.chance():
            numbers = numbers[0]
        return numbers

    def _leaf(self, numbers: Array, dtype: DType, source: str) -> str:
        """A term's tensor: an input (perhaps of fewer axes), a constant, or a weight."""
        g = self.g
        self.leaves += 1
        name = f"term{self.leaves}"
        if source == "constant":
            return g.constant(numbers.astype(dtype.numpy))
        if source == "learned":
            return g.parameter(f"{name}.weight", numbers.astype(dtype.numpy))
        dims = [d for d in numbers.shape if d != 1] if self.chance(0.3) else list(numbers.shape)
        self.inputs[name] = numbers.reshape(dims)
        value = g.input(name, dims, dtype)
        if dims == list(numbers.shape):
            return value
        if numbers.ndim == len(dims) + 1 and self.chance():
            axis = next(i for i in range(numbers.ndim) if [*dims[:i], 1, *dims[i:]] == list(numbers.shape))
            return g.expand_dims(value, axis)
        return g.reshape(value, numbers.shape)

    def _term_numbers(self, term: Term, numbers: Array) -> str:
        """What is added: the bias, or 0 and `low`."""
        g, dtype = self.g, term.dtype
        if term.what == "bias":
            return self._leaf(numbers, dtype, term.source)
        if term.what == "fill":
            if self.mutation == "mask transposed":
                numbers = numbers.swapaxes(-1, -2)
                numbers = numbers.reshape([*numbers.shape[:-2], self.form.query_length, self.form.key_length])
            return self._leaf(numbers, dtypes.BOOL, term.source)
        if term.source != "arithmetic":
            return self._leaf(np.where(numbers, term.low, 0.0), dtype, term.source)
        tensor_type = TensorType(numbers.shape, dtype)
        zero, low = np.array(0.0, dtype.numpy), np.array(term.low).astype(dtype.numpy)
        match self.random.choice(["select", "fill", "product", "subtract"]):
            case "product" if term.low > -np.inf:
                drop = g.cast(self._leaf(numbers, dtypes.BOOL, "input"), dtype)
                return g.muls(drop, float(low)) if self.chance() else g.mul(drop, low)
            case "subtract" if term.low > -np.inf:
                keep = g.cast(self._leaf(~numbers, dtypes.BOOL, "input"), dtype)
                one = g.constant(np.array(1.0, dtype.numpy))
                return g.muls(g.node("Sub", [one, keep], tensor_type), float(low))
            case "fill":
                drop = self._leaf(numbers, dtypes.BOOL, "input")
                zeros = g.constant(np.zeros(numbers.shape, dtype.numpy))
                return g.masked_fill(zeros, drop, low)
            case _:
                keep = self._leaf(~numbers, dtypes.BOOL, "input")
                return g.node("Select", [keep, g.constant(zero), g.constant(low)], tensor_type)

    def _masked(self, scores: _Tensor, term: Term, numbers: Array) -> _Tensor:
        g = self.g
        tensor_type = g.type_of(scores.name)
        if self.mutation == "padding over queries":
            numbers = numbers.swapaxes(-1, -2)
        if self.mutation == "heads and batch of mask swapped":
            numbers = numbers.swapaxes(0, 1)
        if term.what == "bias" or term.what == "drop":
            name = self._beside(scores.axes, term, numbers)
            match self.random.choice(["Add", "ddA", "AddExt", "InplaceAddExt"]):
                case "Add":
                    return _Tensor(g.node("Add", [scores.name, name], tensor_type), scores.axes)
                case "ddA":
                    return _Tensor(g.node("Add", [name, scores.name], tensor_type), scores.axes)
                case "AddExt":
                    return _Tensor(g.node("AddExt", [scores.name, name, g.constant(1)], tensor_type), scores.axes)
                case _:
                    return _Tensor(in_place(g, scores.name, name), scores.axes)
        inverted = self.chance()  # True where the score is kept
        if self.mutation == "polarity of a mask":
            inverted, numbers = True, ~numbers
            numbers[..., 0] = True
        condition = self._beside(scores.axes, term, ~numbers if inverted else numbers)
        if self.chance(0.2):
            condition, inverted = g.logical_not(condition), not inverted
        if self.mutation == "polarity of a mask":
            inverted = not inverted
        low = np.array(term.low).astype(tensor_type.dtype.numpy)
        fill = g.constant(low if self.chance(0.7) else float(low))
        if inverted:
            return _Tensor(g.node("Select", [condition, scores.name, fill], tensor_type), scores.axes)
        if self.chance():
            return _Tensor(g.node("Select", [condition, fill, scores.name], tensor_type), scores.axes)
        return _Tensor(g.node("MaskedFill", [scores.name, condition, fill], tensor_type), scores.axes)

    # --- softmax and the second product

    def _softmax(self, scores: _Tensor) -> tuple[_Tensor, Axes]:
        g, mutation = self.g, self.mutation
        rank = len(scores.axes)
        axis = scores.axes.index("T")
        if mutation == "softmax over queries":
            axis = scores.axes.index("S")
        elif mutation == "softmax over heads":
            axis = 1
        shown = axis - rank if self.chance() else axis
        weights = (
            scores if mutation == "sink column" else _Tensor(softmax(g, self.random, scores.name, shown), scores.axes)
        )
        if mutation == "sink column":
            dims = g.dims(scores.name)
            sink = self._other("sink", scores, [1 if i == axis else d for i, d in enumerate(dims)])
            wide = g.softmax(g.concat([scores.name, sink], axis), shown)
            weights = _Tensor(g.strided_slice(wide, [0] * rank, dims), scores.axes)
        if mutation == "softmax twice":
            weights = _Tensor(g.softmax(weights.name, shown), scores.axes)
        cast_late = self.chance()
        if not cast_late:
            weights = self._cast(weights, self.form.dtype)
        if self.form.nan_guard:
            weights = self._guarded(weights)
        weights = self._cast(weights, self.form.dtype)
        if self.chance(0.2):
            weights = _Tensor(untouched(g, self.random, weights.name), weights.axes)
        return self._mutated_weights(weights), scores.axes

    def _guarded(self, weights: _Tensor) -> _Tensor:
        g = self.g
        tensor_type = g.type_of(weights.name)
        tested = weights.name
        if self.mutation == "guard of another value":
            self.inputs["other"] = np.zeros(tensor_type.dims)
            tested = g.input("other", tensor_type.dims, tensor_type.dtype)
        test = nan_test(g, self.random, tested)
        number = 1.0 if self.mutation == "guard puts one" else 0.0
        zero = g.constant(np.array(number, tensor_type.dtype.numpy))
        if self.chance():
            return _Tensor(g.node("Select", [test, zero, weights.name], tensor_type), weights.axes)
        return _Tensor(g.node("MaskedFill", [weights.name, test, zero], tensor_type), weights.axes)

    def _output(self, weights: _Tensor, axes: Axes, value: _Tensor) -> _Tensor:
        """weights · value, or valueᵀ · weightsᵀ; the result [lead, S, V] or [lead, V, S]."""
        if len(weights.axes) != len(value.axes):
            weights = self._reshaped(weights, (*value.axes[:-2], *weights.axes[-2:]))
        straight = weights if weights.axes[-1] == "T" else self._swapped(weights)
        if self.mutation == "value contracted over queries":
            straight = _Tensor(self._swapped(straight).name, straight.axes)
        if self.chance(0.8):
            return self._product(straight, value)
        return self._product(self._swapped(value), self._swapped(straight))

    # --- near misses around the softmax

    def _other(self, name: str, like: _Tensor, dims: Sequence[int] | None = None) -> str:
        """Another input of the type of `like`, of numbers between 1 and 2."""
        tensor_type = self.g.type_of(like.name)
        dims = tensor_type.dims if dims is None else tuple(dims)
        self.inputs[name] = 1 + np.random.default_rng(7).random(dims)
        return self.g.input(name, dims, tensor_type.dtype)

    def _mutated_scores(self, scores: _Tensor) -> _Tensor:
        g = self.g
        tensor_type = g.type_of(scores.name)
        axes = scores.axes
        ones = [1] * len(tensor_type.dims)
        match self.mutation:
            case "factor is zero":
                return _Tensor(g.muls(scores.name, 0.0), axes)
            case "factor per key" | "factor per query":
                axis = axes.index("T" if self.mutation == "factor per key" else "S")
                ones[axis] = tensor_type.dims[axis]
                return _Tensor(
                    g.mul(scores.name, (1 + np.arange(ones[axis])).astype(tensor_type.dtype.numpy).reshape(ones)), axes
                )
            case "factor inverted":
                return _Tensor(
                    g.node("Div", [g.constant(np.array(2.0, tensor_type.dtype.numpy)), scores.name], tensor_type), axes
                )
            case "mask from the scores":
                positive = g.op("Greater", scores.name, np.array(0.0, tensor_type.dtype.numpy))
                return _Tensor(g.select(positive, scores.name, np.array(-np.inf, tensor_type.dtype.numpy)), axes)
            case "mask multiplied":
                return _Tensor(g.mul(scores.name, self._other("mask", scores)), axes)
            case "scores capped":
                return _Tensor(g.op("Tanh", scores.name), axes)
            case "scores escape":
                self.extra_outputs.append(scores.name)
            case "scores through integers":
                return self._cast(_Tensor(g.cast(scores.name, dtypes.INT32), axes), tensor_type.dtype)
            case "scores read as another shape":
                shape = (*tensor_type.dims[:-2], tensor_type.dims[-1], tensor_type.dims[-2])
                return _Tensor(g.transpose(g.reshape(scores.name, shape), (0, 2, 1)), axes)
        return scores

    def _mutated_weights(self, weights: _Tensor) -> _Tensor:
        g = self.g
        tensor_type = g.type_of(weights.name)
        match self.mutation:
            case "weights scaled":
                return _Tensor(g.muls(weights.name, 0.5), weights.axes)
            case "bias on the weights":
                return _Tensor(g.add(weights.name, self._other("bias", weights)), weights.axes)
            case "weights multiplied":
                return _Tensor(g.mul(weights.name, self._other("head_mask", weights)), weights.axes)
            case "weights are also an output":
                self.extra_outputs.append(weights.name)
            case "weights are also read elsewhere":
                self.extra_outputs.append(g.muls(weights.name, 2.0))
        assert tensor_type.dims
        return weights
