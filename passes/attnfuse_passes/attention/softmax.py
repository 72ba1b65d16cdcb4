"""Where a softmax is: a Softmax node, or an exponential whose rows are divided by their sum, before or after.

exp(x) is the softmax of x up to a factor for each row. It is one if that factor is taken out: by an identity of the
scores, which subtracts log Σ exp(x) (the log-softmax), or by a division by Σ exp(x), of the weights or of their
product with value. The exponential stands for the site, once, however many operators write its softmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attnfuse.api import MatchFailure, Model, Node, Obligation, Role, effective_uses, role
from attnfuse_passes.attention.census import ends_layer, looks_like_attention
from attnfuse_passes.attention.identities.exponentials import exponential
from attnfuse_passes.attention.identities.layout import integers
from attnfuse_passes.attention.identities.product import MAX_CHAIN
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.rows import same_numbers
from attnfuse_passes.attention.identities.steps import (
    Convert,
    DivideBySum,
    FillWhere,
    Layout,
    NanToZero,
    Ordered,
    Same,
    Scale,
    ShiftRows,
    Step,
    SubtractLogSum,
)
from attnfuse_passes.attention.normal_form import LowRows

CODE = "structure.softmax"

# Nodes looked at behind an exponential for the division by its sum: the longest known way has 7.
_SEARCHED = 48

_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}


@dataclass(frozen=True, slots=True)
class SoftmaxRoot:
    """The node that stands for a softmax of `scores`, whose result are weights, up to a factor for each row if it is an
    exponential that is divided by its sum behind.

    `axes` are those it runs over, None where they are no literals. `log_base` is that of an exponential's base.
    `sums` make the divisor, and read the exponential beside what it is multiplied with.
    """

    node: Node
    scores: str
    axes: tuple[int, ...] | None
    log_base: float = 1.0
    by_hand: bool = False
    sums: tuple[Node, ...] = ()

    @property
    def divided(self) -> bool:
        """Whether a division follows."""
        return bool(self.sums)


def read_root(model: Model, node: Node) -> SoftmaxRoot | None:
    """The softmax that a Softmax or an exponential is; None where an exponential is part of none, or of another's.

    Raises MatchFailure for an exponential between the two products of an attention that is divided by something else.
    """
    if role(node) is Role.SOFTMAX:
        axes = integers(model, node.inputs[1]) if len(node.inputs) > 1 else None
        return SoftmaxRoot(node, node.inputs[0], axes)
    found = exponential(model, node)
    if found is None:
        return None
    value, log_base = found
    log_sum = _log_sum(model, value)
    if log_sum is not None and log_sum.log_base == log_base:
        return SoftmaxRoot(node, value, (log_sum.axis,), log_base, by_hand=True)
    if log_sum is not None and looks_like_attention(model, node):
        raise MatchFailure(CODE, node.name, "the logarithm of a sum of exponentials of the same base", node.op)
    division = next(_divisions(model, node), None)
    if division is not None:
        return SoftmaxRoot(node, value, division.axes, log_base, by_hand=True, sums=division.makers)
    logarithm = _less_log(model, node)
    summed = logarithm or _summed(model, node)
    if summed is None or _makes_log_sum(model, node) or not looks_like_attention(model, logarithm or node):
        return None
    expected = "exponentials that are divided by their own sum"
    raise MatchFailure(CODE, summed.name, expected, f"{summed.op}, which nothing known is done with")


def _log_sum(model: Model, value: str) -> SubtractLogSum | None:
    """The logarithm of the sum that was subtracted from the scores last of all."""
    for _ in range(MAX_CHAIN):
        step = read_back(model, value, SitePart.SCORES)
        if step is None:
            return None
        if isinstance(step.effect, SubtractLogSum):
            return step.effect
        if not isinstance(step.effect, Same | Ordered | Convert):
            return None
        value = step.input
    return None


def _onward(model: Model, node: Node) -> Iterator[Node]:
    """The nodes that a node's result reaches within a layer, nearest first."""
    seen, pending = {node.name}, [node]
    while pending and len(seen) < _SEARCHED:
        at = pending.pop(0)
        for use in effective_uses(model, at.name):
            if use.node is None or use.node.name in seen or ends_layer(use.node):
                continue
            seen.add(use.node.name)
            pending.append(use.node)
            yield use.node


def _divisions(model: Model, node: Node) -> Iterator[DivideBySum]:
    """The divisions by the sum of an exponential."""
    for other in _onward(model, node):
        step = read_back(model, other.name, SitePart.RESULT)
        if step is not None and isinstance(step.effect, DivideBySum) and is_sum_of(model, step.effect, node):
            yield step.effect


def is_sum_of(model: Model, division: DivideBySum, node: Node) -> bool:
    """Whether it is by the sum of the node's own result."""
    return same_numbers(model, division.of) == node.name


def _summed(model: Model, node: Node) -> Node | None:
    """A sum that the exponential enters."""
    others = (n for n in _onward(model, node) if n.op in _SUMS)
    return next(others, None)


_SUMS = ("ReduceSum", "SumExt", "LinalgVectorNorm")


def _less_log(model: Model, node: Node) -> Node | None:
    """What takes the logarithm of a sum of exponentials, where the exponent is made with it."""
    seen, pending = {node.name}, [node]
    while pending and len(seen) < _SEARCHED:
        at = pending.pop(0)
        for other in filter(None, map(model.producer, at.inputs)):
            if other.op in _LOGARITHMS:
                return other
            if other.name not in seen and not ends_layer(other) and role(other) is not Role.PRODUCT:
                seen.add(other.name)
                pending.append(other)
    return None


_LOGARITHMS = ("LogSoftmax", "LogSoftmaxExt", "LogSumExp")


def _makes_log_sum(model: Model, node: Node) -> bool:
    """Whether it is part of the logarithm that another exponential's scores are less by."""
    for other in _onward(model, node):
        step = read_back(model, other.name, SitePart.SCORES)
        effect = None if step is None else step.effect
        if isinstance(effect, SubtractLogSum) and any(maker.name == node.name for maker in effect.makers):
            return True
    return False


def score_bytes(model: Model, root: SoftmaxRoot) -> int:
    """Bytes of the score-shaped values alive at once: the softmax's operand and result.

    CANN's graph engine reuses an operand's memory for a result only where the operator's definition allows it, and
    SoftmaxV2's does not (read in the sources of both).
    """
    total = 0
    for value in (root.scores, root.node.name):
        tensor_type = model.type_of(value)
        if tensor_type is not None and tensor_type.is_static:
            total += tensor_type.size * tensor_type.dtype.itemsize
    return total


# --- what rows of low numbers give


def low_rows(root: SoftmaxRoot, scores: list[Step]) -> tuple[LowRows, bool]:
    """What a row gives whose scores are all one huge negative number, and whether 0 is put for −∞ as its largest.

    `scores` are the steps from the product, last first. A Softmax subtracts the largest number itself, and gives the
    mean. An exponential of such a number is 0, and 0 / 0 is no number, unless its largest was subtracted last.
    """
    if not root.by_hand:  # in a narrow type a row less by another number than its largest may leave the range
        others = [s.effect for s in scores if isinstance(s.effect, ShiftRows) and s.effect.kind == "other"]
        return ("unclear" if others else "mean"), False
    log_sum = False
    for position, step in enumerate(scores):
        effect = step.effect
        if isinstance(effect, ShiftRows):
            infinite = _keeps_infinite(scores[position + 1 :]) if effect.kind == "finite_max" else False
            known = effect.kind != "other" and infinite is not None
            return ("mean" if known else "unclear"), bool(infinite)
        if isinstance(effect, SubtractLogSum):
            if effect.stable:
                return "mean", False
            log_sum = True
        elif not isinstance(effect, Same | Ordered | Convert | Layout) and not (
            isinstance(effect, Scale) and effect.factor > 0
        ):
            # A row that is low in front of what is subtracted is not low behind it; what is low behind it is.
            log_sum = log_sum or any(isinstance(s.effect, ShiftRows | SubtractLogSum) for s in scores)
            break
    return ("unclear" if log_sum else "nan"), False


def _keeps_infinite(scores: list[Step]) -> bool | None:
    """Whether a row of −∞ is one still behind these steps, last first; None where that depends on which mask made it.

    Less its own largest number it is no number any more.
    """
    masked = False
    for step in scores:
        effect = step.effect
        if isinstance(effect, ShiftRows) and effect.kind == "other":
            return None
        if isinstance(effect, SubtractLogSum) or (isinstance(effect, ShiftRows) and effect.kind == "max"):
            return None if masked else False
        masked = masked or isinstance(effect, FillWhere)
    return True


# --- the division


@dataclass(frozen=True, slots=True)
class Normalised:
    """What is proved of the divisions: `nan_guard` where a fully masked row, whose sum is 0, becomes 0 by them."""

    obligations: tuple[Obligation, ...] = ()
    nan_guard: bool = False


def check_divisions(root: SoftmaxRoot, steps: list[Step], low: LowRows, zero_for_infinite: bool) -> Normalised:
    """Prove that what leaves the site are weights that sum to 1. `steps` are those behind the softmax, in order.

    Raises MatchFailure. With the largest number of each row subtracted, a sum is at least 1: a number added to it that
    is at most half a unit in the last place is lost in its rounding, and a floor of no more than 1 is never reached.
    """
    guarded, proved = False, Normalised()
    if root.by_hand and not root.divided:
        proved = Normalised((Obligation("softmax", "the logarithm of their sum is taken off the scores"),))
    for step in steps:
        effect = step.effect
        guarded = guarded or isinstance(effect, NanToZero)
        if not isinstance(effect, DivideBySum):
            continue
        at = step.node.name
        if guarded:
            raise MatchFailure(CODE, at, "a guard behind the division by the sum", "one before it")
        if effect.axes != root.axes:
            raise MatchFailure(CODE, at, f"sums over the axes {root.axes}", f"over {effect.axes}")
        changed = effect.epsilon != 0.0 or effect.floor != 0.0
        limit = _ROUNDOFF.get(effect.dtype.name, 0.0)
        if changed and (low != "mean" or not 0.0 <= effect.epsilon <= limit or not 0.0 <= effect.floor <= 1.0):
            what = f"{effect.epsilon!r} added to the sum, and {effect.floor!r} its least"
            raise MatchFailure(CODE, at, f"sums of at least 1, and no more than {limit!r} added", what)
        evidence = "the weights are divided by their sum over that axis"
        if changed:
            evidence += f", which is at least 1: what is added to it in {effect.dtype} is lost in rounding"
        proved = Normalised((*proved.obligations, Obligation("softmax", evidence)), zero_for_infinite and changed)
    if root.divided and not any(isinstance(step.effect, DivideBySum) for step in steps):
        raise MatchFailure(CODE, root.node.name, "a division by the sum on the way to the result", "none on this way")
    return proved
