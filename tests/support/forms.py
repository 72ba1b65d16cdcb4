"""Attention as mathematics: a random normal form, numbers for it, and its formula in float64.

A `Form` says what is to be computed: softmax of scaled and masked scores, times value. How a graph may write it down
is `spellings.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal, TypeAlias

import numpy as np

from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from tests.support import oracle

Array: TypeAlias = oracle.Array
What = Literal["bias", "drop", "fill"]
Source = Literal["input", "constant", "learned", "arithmetic"]

INF = float("inf")
LOWEST = {"float16": -65504.0, "bfloat16": -3.3895313892515355e38, "float32": -3.4028234663852886e38}


@dataclass(frozen=True, slots=True)
class Term:
    """Something done to the scores, varying over `over`, a part of "BNST" (batch, heads, queries, keys).

    bias: numbers added. drop: 0 or `low` added. fill: `low` put in place of the score. `source`: where the numbers (of
    a fill: the booleans) come from; "arithmetic" makes a drop's out of a boolean input.
    """

    what: What
    source: Source
    over: str
    low: float = 0.0
    causal: bool = False
    dtype: DType = FLOAT32
    """The type of the scores it is applied to."""


@dataclass(frozen=True, slots=True)
class Form:
    """softmax(steps(scale · QKᵀ)) V with `kv_heads` key heads for `heads` query heads.

    `operand_factors` stand before the product; `steps` follow it, a factor or a term each.
    """

    batch: int
    heads: int
    kv_heads: int
    query_length: int
    key_length: int
    head_dim: int
    value_head_dim: int
    dtype: DType
    operand_factors: tuple[float, ...]
    steps: tuple[float | Term, ...]
    scores_dtype: DType
    nan_guard: bool
    temperature: str | None
    """The axes of a factor of the scores that is an input, a part of "BN"; None where there is none."""
    no_fully_masked_rows: bool
    """Whether every row is left a key, and the policy says so."""

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple(s for s in self.steps if isinstance(s, Term))

    @property
    def factors(self) -> tuple[float, ...]:
        return (*self.operand_factors, *(s for s in self.steps if not isinstance(s, Term)))

    @property
    def scale(self) -> float:
        return float(np.prod(np.array(self.factors, np.float64)))

    def size(self, axis: str) -> int:
        """Length of an axis by its letter: B N K S T D V."""
        lengths = (
            self.batch,
            self.heads,
            self.kv_heads,
            self.query_length,
            self.key_length,
            self.head_dim,
            self.value_head_dim,
        )
        return lengths["BNKSTDV".index(axis)]


_FACTORS = (0.5, 0.25, 0.125, 2.0, 0.75, -1.0, -0.5, 1.5)


def _factor(random: Random) -> float:
    if random.random() < 0.3:
        return float(np.float16(random.randrange(5, 30) / 37))  # of many digits, and exact in every type but bfloat16
    return random.choice(_FACTORS)


def _finite(dtype: DType, *numbers: float) -> list[float]:
    """Those of the numbers that the type holds, as it rounds them."""
    return [float(np.array(x).astype(dtype.numpy)) for x in numbers if x >= LOWEST[dtype.name]]


def draw_term(random: Random, dtype: DType) -> Term:
    """A mask or a bias for scores of that type."""
    if random.random() < 0.2:
        what: What = random.choice(("drop", "fill"))
        low = random.choice((-INF, LOWEST[dtype.name]))
        return Term(what, "constant", "ST", low, causal=True, dtype=dtype)
    over = random.choice(("ST", "BST", "NST", "BNST", "BT", "T", "BT", "BST", "S", "BN"))
    what = random.choice(("bias", "drop", "fill"))
    if what == "bias":
        return Term(what, random.choice(("input", "constant", "learned")), over, dtype=dtype)
    if what == "fill":
        low = random.choice((-INF, LOWEST[dtype.name], *_finite(dtype, -1000.0, -1e4, -65504.0, -1e9)))
        return Term(what, random.choice(("input", "constant")), over, low, dtype=dtype)
    low = random.choice((-INF, LOWEST[dtype.name], *_finite(dtype, -1e4, -1e9)))
    return Term(what, random.choice(("input", "constant", "arithmetic")), over, low, dtype=dtype)


def draw_form(random: Random, *, plain: bool = False) -> Form:
    """A random attention; `plain`: no masks, one factor."""
    dtype = random.choice((FLOAT16, FLOAT16, BFLOAT16, FLOAT32))
    kv_heads = random.choice((1, 1, 2, 3))
    heads = kv_heads * random.choice((1, 1, 2, 3))
    query_length = random.randrange(2, 6)
    key_length = query_length if random.random() < 0.4 else random.randrange(2, 7)
    head_dim = random.choice((2, 3, 4, 8, 16))
    scores_dtype = FLOAT32 if random.random() < 0.4 else dtype
    no_fully_masked_rows = random.random() < 0.3
    before = [_factor(random) for _ in range(random.choice((0, 0, 1, 1, 2)))]
    steps: list[float | Term] = []
    if not plain:
        for _ in range(random.choice((0, 1, 1, 1, 2))):
            steps.append(draw_term(random, scores_dtype))
    for _ in range(random.choice((0, 1, 1))):
        steps.insert(0 if random.random() < 0.7 else random.randrange(len(steps) + 1), _factor(random))
    total = np.prod([s for s in (*before, *steps) if not isinstance(s, Term)])
    if total < 0 and random.random() < 0.5:
        before.append(-1.0)
        total = -total
    # Scores stay small, so that adding them to float16's smallest number does not leave its range.
    while abs(total) > 2:
        before.append(0.25)
        total /= 4
    return Form(
        batch=random.choice((1, 2, 2, 3)),
        heads=heads,
        kv_heads=kv_heads,
        query_length=query_length,
        key_length=key_length,
        head_dim=head_dim,
        value_head_dim=head_dim if random.random() < 0.7 else random.choice((2, 5, 16)),
        dtype=dtype,
        operand_factors=tuple(before),
        steps=tuple(steps),
        scores_dtype=scores_dtype,
        nan_guard=not plain and random.random() < 0.2,
        temperature=random.choice(("", "N", "BN")) if not plain and random.random() < 0.2 else None,
        no_fully_masked_rows=no_fully_masked_rows,
    )


@dataclass(frozen=True, slots=True)
class Numbers:
    """q [B, N, S, D], k and v [B, K, T, ·], and for each term an array [b, n, s, t], 1 where it does not vary.

    A bias has numbers; a drop or fill has booleans, True where the key is discarded. `temperature` [b, n, 1, 1]
    multiplies the scores before all steps.
    """

    query: Array
    key: Array
    value: Array
    terms: tuple[Array, ...]
    temperature: Array | None = None


def draw_numbers(form: Form, random: Random) -> Numbers:
    """Random inputs. Unless the form has `no_fully_masked_rows`, they do occur."""
    rng = np.random.default_rng(random.getrandbits(32))

    def normal(*dims: int) -> Array:
        # Of few enough digits to be exact in bfloat16 and float16 alike.
        return (rng.standard_normal(dims) * 0.6).astype(BFLOAT16.numpy).astype(np.float64)

    terms = []
    for term in form.terms:
        dims = tuple(form.size(axis) if axis in term.over else 1 for axis in "BNST")
        if term.what == "bias":
            numbers: Array = normal(*dims)
            # Additive masks are biases too: some numbers are −inf.
            if term.source == "input" and not form.no_fully_masked_rows and rng.random() < 0.3:
                numbers = np.where(rng.random(dims) < 0.3, -np.inf, numbers)
        elif term.causal:
            numbers = np.triu(np.ones(dims[2:], bool), 1)[None, None]
        else:
            numbers = rng.random(dims) < rng.choice((0.2, 0.5, 0.8))
        terms.append(numbers)
    found = Numbers(
        normal(form.batch, form.heads, form.query_length, form.head_dim),
        normal(form.batch, form.kv_heads, form.key_length, form.head_dim),
        normal(form.batch, form.kv_heads, form.key_length, form.value_head_dim),
        tuple(terms),
        _temperature(form, rng),
    )
    return _attend(form, found) if form.no_fully_masked_rows else found


def _temperature(form: Form, rng: np.random.Generator) -> Array | None:
    """Between 0.5 and 1, exact in every type, and now and then negative."""
    if form.temperature is None:
        return None
    dims = tuple(form.size(axis) if axis in form.temperature else 1 for axis in "BN")
    numbers: Array = rng.integers(4, 9, (*dims, 1, 1)) / 8 * rng.choice((1.0, 1.0, -1.0))
    return numbers


def _attend(form: Form, numbers: Numbers) -> Numbers:
    """The same with the first key kept everywhere."""
    terms = []
    for term, value in zip(form.terms, numbers.terms, strict=True):
        if term.what != "bias":
            value = value.copy()
            if "T" in term.over:
                value[..., 0] = False
            else:
                value[...] = False
        terms.append(value)
    return replace(numbers, terms=tuple(terms))


def formula(form: Form, numbers: Numbers) -> Array:
    """The form's result [B, N, S, V]."""
    with np.errstate(all="ignore"):
        group = form.heads // form.kv_heads
        key, value = numbers.key.repeat(group, 1), numbers.value.repeat(group, 1)
        scores = numbers.query @ key.swapaxes(-1, -2) * np.prod(form.operand_factors)
        if numbers.temperature is not None:
            scores = scores * numbers.temperature
        scores = _with_terms(form, numbers, scores)
        weights = oracle.softmax(scores)
        if form.nan_guard:
            weights = np.where(np.isnan(weights), 0.0, weights)
        result: Array = weights @ value
        return result


def fine_rows(form: Form, numbers: Numbers) -> Array:
    """[B, N, S, V], whether the row's result is more than rounding.

    In a row all of whose keys have been given a large number, its type keeps little of the scores: scores of 4 and more
    are then rounded to anything, and where several terms add up to that number, not even the order of rounding is told.
    """
    group = form.heads // form.kv_heads
    zeros = np.zeros((form.batch, form.heads, form.query_length, form.key_length))
    scores = numbers.query @ numbers.key.repeat(group, 1).swapaxes(-1, -2) * form.scale
    largest = _with_terms(form, numbers, zeros).max(-1, keepdims=True)
    lost = np.isfinite(largest) & (largest <= -4 / form.scores_dtype.unit_roundoff)
    fine = ~(lost & (np.abs(scores).max(-1, keepdims=True) > 3.5))
    if len(numbers.terms) > 1 and form.scores_dtype.is_low_precision:
        with np.errstate(all="ignore"):
            fine &= (4 * np.abs(largest) * form.scores_dtype.unit_roundoff < 0.5) | np.isinf(largest)
    return np.broadcast_to(fine, (*fine.shape[:-1], form.value_head_dim))


def _with_terms(form: Form, numbers: Numbers, scores: Any) -> Any:
    """The scores [B, N, S, T] after all factors and terms."""
    terms = iter(numbers.terms)
    with np.errstate(all="ignore"):
        for step in form.steps:
            if not isinstance(step, Term):
                scores = scores * step
            elif step.what == "bias":
                scores = scores + next(terms)
            elif step.what == "drop":
                scores = scores + np.where(next(terms), step.low, 0.0)
            else:
                scores = np.where(next(terms), step.low, scores)
            scores = oracle.in_range(scores, step.dtype if isinstance(step, Term) else form.scores_dtype)
    return scores
