"""From the terms of the scores to what a fused node can take: keys to discard, a bias, what an empty row means.

Let c be added to a score. If c is −inf the key's weight is exactly 0. If c is so negative that adding it absorbs the
score (s + c = c in floating point, see ABSORBING), the weight is exactly 0 as long as the row has one key without it.
Such terms are masks: the key is discarded. Any other term is a bias and is added as it is.

A row all of whose keys are discarded needs care. The formula gives NaN there (−inf), or the plain mean of value (an
absorbing c: all scores are equal), or 0 (−inf with a NaN guard); the kernel gives something else. So either it is
proved that no such row exists (constant masks are looked at), or the result of such rows is put in place after the
node (`guard`), or the formula stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.api import DType, Miss, Model, NodeKind, Obligation
from attnfuse_passes.attention.heads import Heads
from attnfuse_passes.attention.normal_form import AttentionExpr, BiasTerm, FillTerm
from attnfuse_passes.attention.values import ConstantFolder, Numbers
from attnfuse_passes.attention.view import Axis, View, keys

Array: TypeAlias = npt.NDArray[np.generic]

# Products of float16 query and key stay below 65504² · 512 ≈ 2.2e12 and float32 keeps 24 bits: adding anything
# beyond 1e30 absorbs them whole. float16 has no such number, so its smallest one is a bias like any other.
ABSORBING = -1e30


@dataclass(frozen=True, slots=True)
class Discard:
    """A run-time condition under which a key is discarded.

    Without a `threshold`, `value` is a bool and discards where it is `when`; with one, `value` is a number and discards
    below the threshold (`when`), or above it (not `when`).
    """

    value: str
    view: str
    when: bool = True
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Bias:
    """factor · value, added to the scores at run time."""

    value: str
    view: str
    factor: float


@dataclass(slots=True)
class Masking:
    """What the fused node is given. Constants have axes [batch, heads, rows, columns], 1 where they do not vary."""

    discards: list[Discard] = field(default_factory=list)
    constant_discard: npt.NDArray[np.bool_] | None = None
    biases: list[Bias] = field(default_factory=list)
    constant_bias: npt.NDArray[np.float64] | None = None
    guard: str | None = None
    divide: bool = True
    """Whether the bias may be divided by the scale (see `bias_before_scale`)."""
    kind: str | None = None
    obligations: list[Obligation] = field(default_factory=list)

    @property
    def discarding(self) -> bool:
        return bool(self.discards) or self.constant_discard is not None

    @property
    def biased(self) -> bool:
        return bool(self.biases) or self.constant_bias is not None


class MaskError(Exception):
    """Carries the Miss for a mask that cannot be handed over without changing what it means."""

    def __init__(self, code: str, at: str, expected: str, found: str) -> None:
        super().__init__(code)
        self.miss = Miss(code, at, expected, found)


def read_masking(
    model: Model,
    folder: ConstantFolder,
    expr: AttentionExpr,
    heads: Heads,
    compute: DType,
    node: NodeKind,
    *,
    rows_attended: bool,
) -> Masking:
    """Sort the terms into masks and biases. Raises MaskError where a term's meaning in `compute` cannot be proved."""
    return _Sorter(model, folder, expr, heads, compute, node, rows_attended).sort()


@dataclass(slots=True)
class _Sorter:
    model: Model
    folder: ConstantFolder
    expr: AttentionExpr
    heads: Heads
    compute: DType
    node: NodeKind
    rows_attended: bool
    masking: Masking = field(default_factory=Masking)
    meanings: list[tuple[str, bool]] = field(default_factory=list)
    """For each mask: what a row made only of it means ("nan" or "mean"), and whether it was added."""

    def sort(self) -> Masking:
        for term in self.expr.terms:
            if isinstance(term, FillTerm):
                self._fill(term)
            else:
                self._bias(term)
        self._rows()
        self._kind()
        return self.masking

    # --- terms

    def _fill(self, term: FillTerm) -> None:
        kind = self.model.type_of(term.at)
        lowest = -_largest(self.expr.scores_dtype if kind is None else kind.dtype)
        if term.fill > max(ABSORBING, lowest):
            raise MaskError("facts.fill", term.at, "a fill of −inf or the smallest number of the type", repr(term.fill))
        constant = self._constant(term.condition, term.view)
        if constant is None:
            self.masking.discards.append(Discard(term.condition, term.view, when=term.when))
        else:
            self._discard_constant(constant.astype(np.bool_) == term.when)
        self.meanings.append(("nan" if math.isinf(term.fill) else "mean", False))

    def _bias(self, term: BiasTerm) -> None:
        constant = self._constant(term.value, term.view)
        if constant is not None:
            self._constant_bias(constant.astype(np.float64) * term.factor, term)
            return
        numbers = self.folder.possible(term.value)
        if numbers is not None:
            self._numbers(frozenset(x * term.factor for x in numbers), term)
        else:
            self._unknown(term)

    def _constant_bias(self, values: npt.NDArray[np.float64], term: BiasTerm) -> None:
        if np.isnan(values).any() or (values == np.inf).any():
            raise MaskError("facts.bias_not_finite", term.at, "a bias of numbers below +inf", "NaN or +inf")
        masked = values <= ABSORBING
        if masked.any():
            self._discard_constant(masked)
            self.meanings.append((_meaning(values[masked], term), True))
        rest = np.where(masked, 0.0, values)
        if rest.any():
            self._check_fits(frozenset(np.unique(rest).tolist()), term)
            known = self.masking.constant_bias
            self.masking.constant_bias = rest if known is None else known + rest

    def _numbers(self, numbers: Numbers, term: BiasTerm) -> None:
        low = {x for x in numbers if x <= ABSORBING}
        if low and numbers - low <= {0.0}:
            limit = ABSORBING / 2 / term.factor
            self.masking.discards.append(Discard(term.value, term.view, when=term.factor > 0, threshold=limit))
            self.meanings.append((_meaning(np.array(sorted(low)), term), True))
            return
        if low:
            raise MaskError("facts.mixed_bias", term.at, "a mask of 0 and numbers that absorb the score", _few(numbers))
        self._check_fits(numbers, term)
        self.masking.biases.append(Bias(term.value, term.view, term.factor))

    def _check_fits(self, numbers: frozenset[float], term: BiasTerm) -> None:
        """Each number must stay finite in the compute type, also divided by the scale where that is done."""
        largest = max(abs(x) for x in numbers)
        if largest > _largest(self.compute):
            raise MaskError(
                "facts.bias_range", term.at, f"a bias that {self.compute} holds", f"a number of {largest:g}"
            )
        if largest / self.expr.scale > _largest(self.compute):
            self.masking.divide = False

    def _unknown(self, term: BiasTerm) -> None:
        """A run-time bias. In a type the compute type contains, it goes in as it is; else only a learned one does."""
        learned = _is_learned(self.model, term.value)
        exact = _largest(term.dtype) <= _largest(self.compute)
        if not (learned or exact or self.rows_attended):
            raise MaskError(
                "facts.rows",
                term.at,
                f"a run-time bias in {self.compute}, or proof that each row attends to a key",
                f"{term.dtype}, whose smallest numbers become −inf in {self.compute}",
            )
        why = (
            "learned, so no mask"
            if learned
            else "in a type the compute type contains"
            if exact
            else "rows attended, by the policy"
        )
        self.masking.obligations.append(Obligation("bias", f"the run-time bias is {why}"))
        if not learned:
            self.masking.divide = False
        self.masking.biases.append(Bias(term.value, term.view, term.factor))

    # --- rows without keys

    def _rows(self) -> None:
        masking = self.masking
        if not masking.discarding:
            return
        if self.rows_attended:
            self._prove("rows", "each row attends to a key, by the policy")
            return
        constant = masking.constant_discard
        if not masking.discards and constant is not None and not constant.all(axis=-1).any():
            self._prove("rows", "the mask is constant and leaves every row at least one key")
            return
        kinds = {kind for kind, _ in self.meanings}
        single = len(self.meanings) == 1
        if kinds == {"nan"}:
            masking.guard = "zero" if self.expr.nan_guard else "nan"
        elif kinds == {"mean"} and single:
            masking.guard = "mean"
        else:
            raise MaskError(
                "facts.rows",
                self.expr.softmax.name,
                "proof that each row attends to a key, or one mask whose empty rows have one meaning",
                f"{len(self.meanings)} masks together, which may leave a row no key",
            )
        self._prove("rows", f"rows without keys are put in place after the node: {masking.guard}")

    def _prove(self, kind: str, evidence: str) -> None:
        self.masking.obligations.append(Obligation(kind, evidence))

    # --- constants

    def _constant(self, value: str, view: str) -> Array | None:
        """The term's value with axes [batch, heads, rows, columns], 1 where it does not vary; None at run time."""
        constant = self.folder.value(value)
        if constant is None:
            return None
        source = self.expr.space[view].source
        groups = (self.heads.batch, self.heads.heads, self.expr.axis("rows"), self.expr.axis("columns"))
        own = set(keys(source))
        axes: list[Axis] = [axis if any(atom.key in own for atom in axis) else () for axis in groups]
        return View(source, tuple(axes)).apply(constant)

    def _discard_constant(self, mask: npt.NDArray[np.bool_]) -> None:
        known = self.masking.constant_discard
        self.masking.constant_discard = mask if known is None else known | mask

    def _kind(self) -> None:
        masking = self.masking
        constant = masking.constant_discard
        if masking.biased:
            masking.kind = "additive"
        elif masking.discards:
            masking.kind = "bool"
        elif constant is not None:
            masking.kind = "causal" if _is_causal(constant) else "bool"


def _meaning(low: npt.NDArray[np.float64], term: BiasTerm) -> str:
    if np.isinf(low).all():
        return "nan"
    if len(np.unique(low)) == 1:
        return "mean"
    return "mixed"


def _is_causal(mask: npt.NDArray[np.bool_]) -> bool:
    batch, heads, rows, columns = mask.shape
    if (batch, heads) != (1, 1) or rows == 1:
        return False
    future = np.triu(np.ones((rows, columns), np.bool_), 1)
    return bool((mask[0, 0] == future).all()) or bool(
        (mask[0, 0] == np.triu(np.ones((rows, columns), np.bool_), 1 + columns - rows)).all()
    )


def _largest(dtype: DType) -> float:
    return {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}.get(
        dtype.name, 1.7976931348623157e308
    )


def _is_learned(model: Model, value: str, depth: int = 16) -> bool:
    """Whether a value holds only elements of weights: what selects them may be computed."""
    if model.is_parameter(value):
        return True
    node = model.producer(value)
    if node is None or depth == 0:
        return False
    table = {"Gather": 0, "Embedding": 1, "EmbeddingLookup": 0, "Index": 0}
    if node.op in table:
        return _is_learned(model, node.inputs[table[node.op]], depth - 1)
    passing = (
        "Load",
        "Cast",
        "Transpose",
        "TransposeView",
        "Reshape",
        "ExpandDims",
        "StridedSlice",
        "Tile",
        "BroadcastTo",
        "Contiguous",
    )
    if node.op in passing:
        return _is_learned(model, node.inputs[0], depth - 1)
    return False


def _few(numbers: frozenset[float]) -> str:
    return ", ".join(f"{x:g}" for x in sorted(numbers)[:4])
