"""From the terms of the scores to what a fused node can take: keys to discard, a bias, what a fully masked row means.

Let c be added to a score. If c is −inf the key's weight is exactly 0. If c is so negative that adding it absorbs the
score (s + c = c in floating point, see `hiding.py`), the weight is exactly 0 as long as the row has one key without it.
Such terms are masks: the key is discarded. Any other term is a bias and is added as it is.

A number that is filled in hides a key from further up, see `hiding.py`: below every score that the types allow, or
below every score that is assumed.

A row all of whose keys are discarded needs care. The formula gives NaN there (−inf), or the plain mean of value (an
absorbing c: all scores are equal), or 0 (−inf with a NaN guard); the kernel gives something else. So either it is
proved that no such row exists (constant masks are looked at), or the result of such rows is put in place after the
node (`guard`), or all terms are summed and handed over as one *shifted* bias.

The shifted bias takes any run-time numbers into a narrower type without a proof about them. With m the largest bias of
a row, softmax(s + b) = softmax(s + (b − m)); b − m has a 0 in every row, so narrowing it may turn hidden keys into
−inf, but never a whole row. Where m itself absorbs the scores, s + b = b in the formula's own arithmetic: there the
query row is set to zero, and the node computes the same softmax(b − m). A row of −inf alone, or with a +inf, gives NaN
on both sides.

A bias whose numbers are known goes in as it is where storing them costs no more than the formula's own arithmetic
(`narrowing.py` derives the bound). Otherwise it is shifted too: here, once, if all that is done to the scores is
constant, else at run time with all else, as the largest of a row depends on which keys are hidden.

A weight is a bias of known numbers where its values are at hand, and no constant: what is written reads it at run time.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.api import ASSUMPTION, DType, FullyMaskedRows, MatchFailure, Model, Obligation
from attnfuse_passes.attention.axes import Axis, View, axes_of, keys
from attnfuse_passes.attention.hiding import (
    ABSORBING,
    FELT,
    HIDING,
    LOST,
    MASKING,
    absorbing,
    half_spacing,
    hides_from,
    is_weighed,
)
from attnfuse_passes.attention.low_rows import settled
from attnfuse_passes.attention.mask_plan import MaskPlan, as_given, is_causal
from attnfuse_passes.attention.mask_values import ConstantFolder, Numbers
from attnfuse_passes.attention.narrowing import FINE, Reals, roundoff, shifted, survives
from attnfuse_passes.attention.normal_form import Attention, Band, Bias, BooleanMask, Fill
from attnfuse_passes.attention.term_numbers import check_scores_last, is_extreme, is_out_of_range, may_be_low

Array: TypeAlias = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class _Part:
    """A bias that is to be stored: the numbers it is made of (None: any, of the compute type itself) and where it is
    added."""

    numbers: Reals | None
    added: DType


def plan_masks(
    model: Model,
    folder: ConstantFolder,
    known: ConstantFolder,
    attention: Attention,
    compute: DType,
    *,
    before_scale: bool,
    no_fully_masked_rows: bool,
) -> MaskPlan:
    """Sort the terms into masks and biases. Raises MatchFailure where a term's meaning in `compute` cannot be proved.

    `folder` knows constants, which may be rewritten; `known` the weights' values too. `before_scale`: the fused node
    adds its bias before the scale. A fused node's own terms are handed on as they are.
    """
    if attention.layout is not None:
        return as_given(attention)
    terms = settled(
        attention,
        [term for term in attention.terms if not isinstance(term, BooleanMask | Band)],
        known,
        no_fully_masked_rows=no_fully_masked_rows,
    )
    return _Sorter(model, folder, known, attention, terms, compute, before_scale, no_fully_masked_rows).sort()


@dataclass(slots=True)
class _Sorter:
    model: Model
    folder: ConstantFolder
    known: ConstantFolder
    attention: Attention
    terms: tuple[Bias | Fill, ...]
    compute: DType
    before_scale: bool
    no_fully_masked_rows: bool
    masks: list[BooleanMask] = field(default_factory=list)
    constant_mask: npt.NDArray[np.bool_] | None = None
    biases: list[Bias] = field(default_factory=list)
    constant_bias: npt.NDArray[np.float64] | None = None
    guard: FullyMaskedRows | None = None
    divide: bool = True
    obligations: list[Obligation] = field(default_factory=list)
    meanings: list[tuple[str, float]] = field(default_factory=list)
    """For each mask: what a row made only of it means ("nan", "mean" or "mixed"), and the number that fills it; NaN
    where it was added, or rounded since."""
    shift: bool = False
    largest: float = 0.0
    """Bound of what all known biases together add."""
    unbounded: bool = False
    """Whether there is a bias of any number at all, computed at run time."""
    nearest: float = math.inf
    """Magnitude of the finite number nearest to 0 that hides a key."""
    lost: float = math.inf
    """What is added behind a fill is lost in it below this."""
    absorbing: float = math.inf
    """The smallest magnitude that absorbs scores in a type in which something is added."""
    is_low: bool = False
    """Whether scores are lost in some number of a known bias."""
    may_absorb: bool = False
    """Whether a stored bias may leave a row nothing but numbers that absorb scores."""
    parts: list[_Part] = field(default_factory=list)
    """The biases of run time that are to be stored."""
    constants: list[DType] = field(default_factory=list)
    """The types in which constant biases are added."""
    hidden: npt.NDArray[np.bool_] | None = None
    """The keys that all masks together discard, as far as each is known."""
    all_known: bool = True
    """Whether every mask is known."""

    def sort(self) -> MaskPlan:
        self._check_sums()
        for term in self.terms:
            self._check_range(term)
            if not (isinstance(term, Fill) and math.isinf(term.fill)):
                self.absorbing = min(self.absorbing, -self._lost_from(term))
            if isinstance(term, Fill):
                self._fill(term)
            else:
                self._bias(term)
        guarded = self.attention.nan_guard and not self.no_fully_masked_rows
        if self._is_lost_beside_mask() or (guarded and self.largest > _largest(self.compute)):
            self.shift = True  # biases that are −∞ together leave no number, for which the formula puts 0
        if not self.shift:
            self._store()
        self._rows()
        level = self._level()
        if self.shift:
            return self._shifted()
        kind = None
        if self.biases or self.constant_bias is not None:
            kind = "additive"
        elif self.masks:
            kind = "bool"
        elif self.constant_mask is not None:
            kind = "causal" if is_causal(self.constant_mask) else "bool"
        return MaskPlan(
            masks=tuple(self.masks),
            constant_mask=self.constant_mask,
            biases=tuple(self.biases),
            constant_bias=self.constant_bias,
            guard=self.guard,
            divide=self.divide,
            level=level,
            kind=kind,
            obligations=tuple(self.obligations),
        )

    def _shifted(self) -> MaskPlan:
        """One shifted bias of all terms, in place of everything sorted so far."""
        scaled = any(isinstance(term, Bias) and term.factor != 1.0 for term in self.terms)
        self._check_types()
        for term in self.terms:
            if isinstance(term, Bias) and term.clamped and not self.no_fully_masked_rows:
                expected = "nothing beside a mask in front of a clamp"
                raise MatchFailure("facts.fully_masked_rows", term.at, expected, "another mask or bias")
            if (
                isinstance(term, Fill)
                and not self.no_fully_masked_rows
                and (not term.fill <= -absorbing(term.added_in) or (scaled and math.isfinite(term.fill)))
            ):
                # A number that would not absorb the score if it was added: no sum of terms says that. Nor does one
                # where a factor behind both rounds the fill otherwise than the bias: what was equal in the formula, and
                # so a mean, differs, in a fully masked row.
                raise MatchFailure(
                    "facts.fully_masked_rows", term.at, "one mask, or masks that are added", "a fill beside a bias"
                )
        self.obligations = [o for o in self.obligations if o.kind == ASSUMPTION]
        self._prove(
            "fully_masked_rows", "the bias is shifted by its largest number in each row, which changes no softmax"
        )
        if any(isinstance(term, Bias) and self._may_be_between(term) for term in self.terms):
            self._assume_lost()
        return MaskPlan(
            shifted=self.terms,
            guard="zero" if self.attention.nan_guard else None,
            divide=False,
            level=self.absorbing,
            kind="additive",
            obligations=tuple(self.obligations),
        )

    # --- storing biases in the compute type

    def _store(self) -> None:
        """Have the biases stored as they are, where that loses nothing; else shifted, here or at run time."""
        constant = self.constant_bias
        parts = list(self.parts)
        if constant is not None:
            parts.append(_Part(np.unique(constant), min(self.constants, key=roundoff)))
        if not parts:
            return
        wide = any(isinstance(term, Bias) and self._is_wide(term) for term in self.terms)
        if len(parts) > 1 and wide and (self.unbounded or self.largest >= FINE):
            self.shift = True  # the formula adds them in a wider type than the node's
            return
        for divide in (True, False) if self.divide else (False,):
            factor = 1.0 / self.attention.scale if divide and self.before_scale else 1.0
            if all(p.numbers is None or survives(p.numbers, self.compute, factor, p.added) for p in parts):
                self.divide = divide
                if any(part.numbers is not None for part in parts):
                    self._prove("bias", f"the bias in {self.compute} is off by no more than the formula's own rounding")
                return
        if constant is None or self.parts or self.masks or constant.max() >= -ABSORBING:
            self.shift = True  # a largest number that absorbs the scores leaves a row without them, query set to zero
            return
        rest = shifted(constant, self.constant_mask)
        self.constant_bias = rest if rest.any() else None
        self.divide = self.divide and float(-rest.min()) / self.attention.scale <= _largest(self.compute)
        self._prove("bias", "the constant bias is shifted by its largest number in each row, which changes no softmax")

    # --- terms

    def _is_wide(self, term: Bias | Fill) -> bool:
        """Whether the formula adds in another type than the node will: then it may lose nothing that the node does."""
        return term.added_in != self.compute

    def _per_head(self, source: Axis | None) -> bool:
        """Whether a mask of those atoms may differ from head to head."""
        own = set(keys(self.attention.axes.heads))
        return any(atom.key in own for atom in source or ())

    def _check_range(self, term: Bias | Fill) -> None:
        """A narrower type behind a mask would turn its smallest numbers into −inf, and rows of them into NaN."""
        if self.no_fully_masked_rows:
            return
        at, softmax = term.added_in, self.attention.scores_dtype
        if _largest(at) > _largest(softmax):
            raise MatchFailure(
                "facts.fully_masked_rows", term.at, f"a softmax in {at}, as the mask", f"one in {softmax}"
            )
        if _largest(at) > term.narrowest:
            expected, found = f"a mask in {at} up to the softmax", "a cast to a narrower type"
            raise MatchFailure("facts.fully_masked_rows", term.at, expected, found)
        if isinstance(term, Bias) and is_out_of_range(self.model, self.known, term):
            expected, found = "factors behind a mask that keep it in range, and its sign", repr(term.factor)
            raise MatchFailure("facts.fully_masked_rows", term.at, expected, found)

    def _check_sums(self) -> None:
        """Masks that overflow together in the formula, and with a factor on each would not, are left to it."""
        terms = [t for t in self.terms if isinstance(t, Bias) and abs(t.factor) < 1 and is_extreme(self.known, t)]
        if len(terms) > 1 and not (self.no_fully_masked_rows and all(term.factor > 0 for term in terms)):
            found = f"{len(terms)} masks before a factor"
            raise MatchFailure("facts.fully_masked_rows", terms[-1].at, "one mask before a factor, or none", found)

    def _overflows(self, low: float, term: Bias | Fill) -> bool:
        """Whether a factor behind the term takes a finite number out of the scores' range: the formula has −inf."""
        return math.isfinite(low) and low < -_largest(term.added_in)

    def _fill(self, term: Fill) -> None:
        self._check_hides(term)
        constant = self._constant(self.folder, term.condition, term.source)
        if constant is None:
            self.masks.append(BooleanMask(term.condition, term.source, self._per_head(term.source), when=term.when))
            known = self._constant(self.known, term.condition, term.source)
            self._hide(None if known is None else known.astype(np.bool_) == term.when)
        else:
            self._mask_constant(constant.astype(np.bool_) == term.when)
        number = math.nan if term.scaled else term.fill
        self.meanings.append(("nan" if math.isinf(term.fill) else "mean", number))
        if math.isfinite(term.fill):
            self.nearest = min(self.nearest, -term.fill)
            position = next(i for i, other in enumerate(self.terms) if other is term)
            for other in self.terms[position + 1 :]:
                if isinstance(other, Bias):
                    self.lost = min(self.lost, half_spacing(term.fill, other.added_in))

    def _check_hides(self, term: Fill) -> None:
        """That no key has weight where the fill is, by what the types hold or by what is assumed."""
        lowest = -_largest(term.added_in)
        if term.fill > HIDING or self._overflows(min(term.fill, term.lowest), term):
            raise MatchFailure("facts.fill", term.at, "a fill of −inf, or one below every score", repr(term.fill))
        if term.fill > lowest and not term.reach <= -term.fill / 2:
            self._assume_hidden(term.fill)

    def _bias(self, term: Bias) -> None:
        check_scores_last(self.known, term)
        constant = self._constant(self.folder, term.value, term.source)
        if constant is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # ∞ · 0 is no finite bias, which is told then
                scaled = constant.astype(np.float64) * term.factor
            self._constant_bias(scaled, term)
            return
        numbers = self.known.possible(term.value)
        if numbers is not None:
            self._numbers(frozenset(x * term.factor for x in numbers), term)
        else:
            self._unknown(term)

    def _constant_bias(self, values: npt.NDArray[np.float64], term: Bias) -> None:
        if np.isnan(values).any() or (values == np.inf).any():
            raise MatchFailure("facts.bias_not_finite", term.at, "a bias of numbers below +inf", "NaN or +inf")
        masked = values <= self._hides_from(term)
        if masked.any():
            self._check_clamped(values, term)
            self._assume_hidden(float(values[masked].max()))
            self._mask_constant(masked)
            self.meanings.append((self._meaning(values[masked], term), math.nan))
        rest = np.where(masked, 0.0, values)
        if rest.any():
            self.constants.append(term.added_in)
            self._bound(rest)
            self.is_low = self.is_low or self._absorbs(float(rest.min()), term)
            if self._absorbs(float(values.max(axis=-1).min()), term):
                self.shift = True
            known = self.constant_bias
            self.constant_bias = rest if known is None else known + rest

    def _numbers(self, numbers: Numbers, term: Bias) -> None:
        if math.inf in numbers:
            self.shift = True  # a row that holds it is not a number, which shifting finds out
            return
        low = {x for x in numbers if x <= self._hides_from(term)}
        if low and numbers - low <= {0.0}:
            # Within the type's own range: nothing is below −inf, and that is what float16 hides keys with.
            nearest = max(ABSORBING, max(low))
            limit = max(nearest / 2 / abs(term.factor), -_largest(term.dtype) / 2)
            self._assume_hidden(max(low))
            below = term.factor > 0
            per_head, threshold = self._per_head(term.source), limit if below else -limit
            self.masks.append(BooleanMask(term.value, term.source, per_head, when=below, threshold=threshold))
            self._check_clamped(np.array(sorted(numbers)), term)
            self.meanings.append((self._meaning(np.array(sorted(low)), term), math.nan))
            known = self._constant(self.known, term.value, term.source)
            self._hide(None if known is None else known.astype(np.float64) * term.factor <= nearest)
            return
        if low:
            self._take_apart(term)
            return
        stored = np.array(sorted(numbers))
        self._bound(stored)
        constant = self._constant(self.known, term.value, term.source)
        self.is_low = self.is_low or self._absorbs(float(stored.min()), term)
        if constant is None:
            self._note_absorbing(stored, term)
        elif self._absorbs(float((constant.astype(np.float64) * term.factor).max(axis=-1).min()), term):
            self.may_absorb = True
        self.parts.append(_Part(stored, term.added_in))
        self.biases.append(term)

    def _bound(self, numbers: Reals) -> None:
        """Mind how large the biases may get together, and what of that leaves the compute type."""
        self.largest += float(np.abs(numbers).max())
        if self.largest > _largest(self.compute):
            self.divide = False  # where the formula's sum is infinite, the node's has to be
        if self.largest / self.attention.scale > _largest(self.compute):
            self.divide = False

    def _unknown(self, term: Bias) -> None:
        """A run-time bias of any numbers. It goes in as it is where the node holds them exactly; else it is shifted.

        With a factor behind it, it does so where that is a power of two, or the formula rounds the product as the node
        does.
        """
        if term.clamped and not self.no_fully_masked_rows:
            expected, found = "a bias of known numbers in front of a clamp", "one that is computed"
            raise MatchFailure("facts.fully_masked_rows", term.at, expected, found)
        exact = term.dtype == self.compute
        exact = exact and (abs(math.frexp(term.factor)[0]) == 0.5 or term.added_in == self.compute)
        if exact and abs(term.factor) > 1 and self.attention.scores_dtype != self.compute:
            # In the softmax's wider type the product is a number, in the node's it may be none.
            exact = False
            if term.added_in != self.attention.scores_dtype and not self.no_fully_masked_rows:
                raise MatchFailure(
                    "facts.fully_masked_rows", term.at, "a factor in the type the mask is added in", "a cast between"
                )
        turned = term.factor < 0  # makes +inf of what hides a key, whoever attends
        if self.attention.nan_guard and (turned or (exact and not self.no_fully_masked_rows)):
            self.shift = True  # a row that is NaN must give 0, and shifting tells which rows these are
            return
        if not exact:
            self._take_apart(term)
            return
        self._prove("bias", "the run-time bias is of the compute type")
        self.divide = False
        self.unbounded = True
        if is_weighed(self.model, term.value):
            self._assume_keys("numbers that are computed", term)
        elif absorbing(term.added_in) <= _largest(term.dtype):
            self.may_absorb = True
        self.parts.append(_Part(None, term.added_in))
        self.biases.append(term)

    def _take_apart(self, term: Bias) -> None:
        """Read a sum whose parts are known one by one; shift anything else."""
        parts = self._summands(term)
        if parts and all(self.known.possible(part.value) is not None for part in parts):
            for part in parts:
                self._bias(part)
        else:
            self.shift = True

    def _summands(self, term: Bias) -> list[Bias]:
        """scores + (a + b) = (scores + a) + b, where that helps: the numbers of both are known."""
        node = self.model.producer(term.value)
        if node is None or node.op != "Add":
            return []
        tensor_type, parts = self.model.type_of(term.value), []
        if tensor_type is None:
            return []
        if term.source is None:
            return []
        axes = axes_of(term.source, tensor_type.dims)
        for name in node.inputs[:2]:
            part = self.model.type_of(name)
            if part is None or not part.dtype.is_float or part.rank > len(axes):
                return []
            own = axes[len(axes) - part.rank :]
            source = tuple(atom for axis, dim in zip(own, part.dims, strict=True) if dim != 1 for atom in axis)
            parts.append(replace(term, value=name, dtype=part.dtype, source=source))
        return parts

    # --- fully masked rows

    def _rows(self) -> None:
        if self.shift or (not self.masks and self.constant_mask is None):
            return
        if self.no_fully_masked_rows:
            self._prove("fully_masked_rows", "each row attends to a key, by the policy")
            return
        if math.isfinite(self.nearest) and (self.unbounded or 2 * self.largest > self.nearest):
            self.shift = True  # a bias may push other keys as low as the hidden ones
            return
        if self.all_known and self.hidden is not None and not self.hidden.all(axis=-1).any():
            what = "a weight of known numbers" if self.masks else "constant"
            self._prove("fully_masked_rows", f"the mask is {what} and leaves every row at least one key")
            return
        if math.isfinite(self.lost) and (self.unbounded or self.largest >= self.lost):
            self.shift = True  # a row of fills is no mean any more once something is added to them
            return
        kinds, numbers = {kind for kind, _ in self.meanings}, {number for _, number in self.meanings}
        single = len(self.meanings) == 1 or (len(numbers) == 1 and not math.isnan(self.meanings[0][1]))
        if kinds == {"nan"}:
            self.guard = "zero" if self.attention.nan_guard else "nan"
        elif kinds == {"mean"} and single:
            self.guard = "mean"
        else:
            self.shift = True  # several masks together may mask a row fully, and what it means depends on all
            return
        self._prove("fully_masked_rows", f"fully masked rows are put in place after the node: {self.guard}")

    def _meaning(self, low: npt.NDArray[np.float64], term: Bias) -> str:
        """What a row of these numbers alone means."""
        if term.clamped:
            low = np.maximum(low, -_largest(term.added_in))
        if np.isinf(low).all():
            return "nan"
        nearest = float(low.max())
        self.nearest = min(self.nearest, -nearest)
        for other in self.terms:
            if isinstance(other, Bias):
                self.lost = min(self.lost, half_spacing(nearest, other.added_in))
        if len(np.unique(low)) == 1 and not self._overflows(float(low.min()), term):
            return "mean"
        return "mixed"

    def _level(self) -> float | None:
        """From which magnitude on a row of a stored bias has none of its scores; None where there is no such row."""
        may_absorb = self.may_absorb or (self.is_low and bool(self.masks or self.constant_mask is not None))
        if self.shift or not may_absorb or self.no_fully_masked_rows:
            return None
        self._check_types()
        self._assume_lost()
        return self.absorbing

    def _check_types(self) -> None:
        """Scores that are lost in one type's sum are not in another's: which row is low hangs on the term."""
        types = {term.added_in for term in self.terms if may_be_low(self.model, self.known, term)}
        if len(types) > 1 and not self.no_fully_masked_rows:
            expected, found = "masks and biases added in one type", ", ".join(sorted(map(str, types)))
            raise MatchFailure("facts.fully_masked_rows", self.terms[-1].at, expected, found)

    def _is_lost_beside_mask(self) -> bool:
        """Whether a constant mask leaves a row nothing but constants in which its scores are lost."""
        if self.constant_bias is None or self.constant_mask is None or not self.is_low:
            return False
        bias, mask = np.broadcast_arrays(self.constant_bias, self.constant_mask)
        largest = np.where(mask, -np.inf, bias).max(axis=-1)
        return bool((np.isfinite(largest) & (largest <= -self.absorbing)).any())

    def _assume_lost(self) -> None:
        if not self.no_fully_masked_rows:
            what = "scores" if len(self.terms) == 1 else "scores and biases beside them"
            self._assume(
                f"in a row without a key {what} stay below {LOST:g}: they are lost in what hides the keys, from "
                f"−{self.absorbing:g} on, and the row is the mean of value; and no bias is above {self.absorbing:g}"
            )

    def _absorbs(self, largest: float, term: Bias) -> bool:
        """Whether a row whose largest bias is that has lost its scores; what hides keys is no bias any more."""
        return -math.inf < largest <= self._lost_from(term)

    def _lost_from(self, term: Bias | Fill) -> float:
        """From where on scores are lost in the term, as it is behind all factors."""
        return -absorbing(term.added_in) * (abs(term.behind) if isinstance(term, Bias) else 1.0)

    def _hides_from(self, term: Bias) -> float:
        """From where on what is added is a mask, as it is behind all factors."""
        limit = hides_from(term.added_in)
        return limit if limit <= ABSORBING else limit * max(abs(term.behind), 1.0)

    def _note_absorbing(self, numbers: Reals, term: Bias) -> None:
        """Note what becomes of a row of the smallest of these numbers, from which a bias is taken at run time."""
        low = float(numbers.min())
        if self._absorbs(low, term):
            self.may_absorb = True
        elif low <= MASKING and half_spacing(low / term.behind, term.added_in) > FELT and set(numbers) == {0.0, low}:
            self._assume_keys(f"{low:g}", term)

    def _assume_hidden(self, number: float) -> None:
        if number > ABSORBING:
            biases = " and biases added to them" if any(isinstance(term, Bias) for term in self.terms) else ""
            self._assume(f"scores{biases} stay above {number / 2:g}: {number:g} hides keys beside no others")

    def _assume_keys(self, what: str, term: Bias) -> None:
        if not self.no_fully_masked_rows:
            self._assume(
                f"each row has a key: in one whose keys are all hidden by {what} the source rounds scores to "
                f"{term.added_in}, and the fused node does not"
            )

    def _may_be_between(self, term: Bias) -> bool:
        """Whether numbers of the bias may absorb the scores in its type, and not in every type."""
        numbers = self.known.possible(term.value)
        above, limit = self._hides_from(term), self._lost_from(term)
        return numbers is None or any(above < x * term.factor <= limit for x in numbers)

    def _check_clamped(self, numbers: Reals, term: Bias) -> None:
        """Of scores that are clamped, −inf is the type's smallest number, and a row that has both is no longer told."""
        finite = numbers[np.isfinite(numbers)]
        if term.clamped and np.isinf(numbers).any() and finite.size and finite.min() <= -absorbing(term.added_in):
            expected = "one number that hides keys in front of a clamp"
            raise MatchFailure("facts.fully_masked_rows", term.at, expected, f"−inf and {finite.min():g}")

    def _assume(self, evidence: str) -> None:
        self._prove(ASSUMPTION, evidence)

    def _prove(self, kind: str, evidence: str) -> None:
        if not any((o.kind, o.evidence) == (kind, evidence) for o in self.obligations):
            self.obligations.append(Obligation(kind, evidence))

    # --- constants

    def _constant(self, folder: ConstantFolder, value: str, source: Axis | None) -> Array | None:
        """The term's value with axes [batch, heads, query, key], 1 where it does not vary; None if not known."""
        constant = folder.value(value)
        if constant is None or source is None:
            return None
        own_axes = self.attention.axes
        groups = (own_axes.batch, own_axes.heads, own_axes.query_length, own_axes.key_length)
        own = set(keys(source))
        axes: list[Axis] = [axis if any(atom.key in own for atom in axis) else () for axis in groups]
        return View(source, tuple(axes)).apply(constant)

    def _mask_constant(self, mask: npt.NDArray[np.bool_]) -> None:
        if (mask == mask[:, :1]).all():
            mask = mask[:, :1]  # in the same constant as a bias per head, the mask of all heads
        known = self.constant_mask
        self.constant_mask = mask if known is None else known | mask
        self._hide(mask)

    def _hide(self, mask: npt.NDArray[np.bool_] | None) -> None:
        """Keep in mind which keys a mask discards; None where it is not known."""
        if mask is None:
            self.all_known = False
        else:
            self.hidden = mask if self.hidden is None else self.hidden | mask


def _largest(dtype: DType) -> float:
    return dtype.largest if dtype.is_float else sys.float_info.max
