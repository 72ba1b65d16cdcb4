"""What is said of one attention site: found, proved, decided, or missed and why.

These records carry facts, not text: the report and `explain` render them late. Nothing here looks at a graph.
Imports nothing of the project.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, Literal, TypeAlias, TypeVar

Form: TypeAlias = Literal["formula", "fused"]
Status: TypeAlias = Literal["fused", "kept", "missed", "not_attention"]
AttentionKind: TypeAlias = Literal["self", "cross"]
Precision: TypeAlias = Literal["high", "fast"]
FullyMaskedRows: TypeAlias = Literal["nan", "mean", "zero"]


class DecisionStage(IntEnum):
    """How far a site got before it was given up; the later, the nearer it came to being fused."""

    ANCHOR = 0
    STRUCTURE = 1
    FACTS = 2
    SAFETY = 3
    POLICY = 4
    TARGET = 5


ASSUMPTION = "assumption"


@dataclass(frozen=True, slots=True)
class Obligation:
    """Something that must hold for the fused node to mean what the formula meant, and why it does.

    Of the kind ASSUMPTION it is not proved: it says what is assumed of values that only a run knows.
    """

    kind: str
    evidence: str


@dataclass(frozen=True, slots=True)
class AppliedIdentity:
    """An algebraic identity used on the way from the graph to the normal form, the node, and the operand it is of."""

    identity: str
    at: str
    operand: str = ""


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Why a site is not fused: a stable code (see `attnfuse.codes`), the value where it shows, what was found there."""

    code: str
    at: str
    expected: str
    found: str


def cannot(reason: str) -> MatchFailure:
    """The failure of a node that cannot be written otherwise; `reason` completes `… stays: `."""
    return MatchFailure("operator.unsupported", "", "", reason)


class MatchFailure(Exception):  # noqa: N818  # a verdict, not an error
    """What a rewrite is about is not there, or cannot be stated otherwise; raised at any depth of a check.

    `reason` says why. `is_attention` is False where an attention site turns out to be none at all.
    """

    def __init__(self, code: str, at: str, expected: str, found: str, *, is_attention: bool = True) -> None:
        """`expected` is empty where `found` is a sentence of its own."""
        super().__init__(f"expected {expected}, found {found}" if expected else found)
        self.reason = FailureReason(code, at, expected, found)
        self.is_attention = is_attention


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Why something cannot be written in a form: a code, the reason in words, and what was found, where that says it.

    Without a `failure` it is policy or target that say no, and not what is there.
    """

    code: str
    reason: str
    failure: FailureReason | None = None

    @classmethod
    def found(cls, code: str, at: str, expected: str, found: str) -> Unsupported:
        """The one that says what was expected at a value, and what is there."""
        return cls.of(MatchFailure(code, at, expected, found))

    @classmethod
    def of(cls, failure: MatchFailure) -> Unsupported:
        """What a check refused."""
        return cls(failure.reason.code, str(failure), failure.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way in which something could be written, complete before a node of it is.

    `form` names the lowering that writes it. `anchor` is the value that it stands for, `removes` are values that are
    then without purpose. A rewrite may add what its lowerings have to know.
    """

    form: str
    anchor: str
    removes: tuple[str, ...] = ()
    unsupported: Unsupported | None = None


C = TypeVar("C", bound=Candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[C]):
    """What is done with something that was found: `chosen` is written, or all stays where it is None.

    `others` are the candidates that were not taken. Of an attention site, `status`, `code`, `reason` and `rule` go into
    its record; `failure` says what was in the way, where it was neither policy nor target. `node` is the fused operator
    that then stands for it, None for the formula.
    """

    chosen: C | None = None
    others: tuple[C, ...] = ()
    status: Status = "missed"
    code: str = ""
    reason: str = ""
    rule: str | None = None
    failure: FailureReason | None = None
    node: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A form in which a site was not written, and why; `code` is empty where another was preferred."""

    form: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """What policy rules may select an attention by; None where it is not known, or not before run time.

    Lengths are those of the query and key sequences, `head_dim` is query's, `dtype` is what query, key and value come
    in before any cast a fused node asks for. `attention` is "self" where all three are projected from the same
    values.
    """

    query_length: int | None = None
    key_length: int | None = None
    head_dim: int | None = None
    dtype: str | None = None
    attention: AttentionKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRecord:
    """One Softmax or one already fused node of the source, and what became of it: as the report has it, field by field.

    `id` is `<component>/<module>`, given once all sites of a graph are known. `module` is the dotted path of the module
    that owns the site; `anchor` the value the fused node stands for (for a site that is not attention: the Softmax
    itself). Values of the graph have the names that MindIR gives them. `operator` is the fused operator that stands
    there now, None for the formula. Shapes are those entering the fused node that is written (or, where none is, of the
    operands as found): query [B, N, Sq, D] and so on, in `layout`; -1 is a size that is not known before run time.
    `scale` is the float64 product of `scale_factors`, finite. `mask` is what the node is given as "bool", "causal" or
    "additive"; `fully_masked_rows` is what was put in place, behind the node, for query rows that no key is left to:
    "nan", "mean" or "zero", None where nothing had to be. `layout_reason` compares the Transposes that each layout
    would leave, and `stands_for` is the value of the source that what was written stands for, None where nothing was.
    `head_dim_padding` are the zeros each head of query has been appended, and `padded_by_weights` tells which of query,
    key, value and result have theirs in weights, at no cost at run time. `precision` is that of the fused node's scores
    and softmax, "high" or "fast", and `precision_reason` why; None and empty for the formula, and for a fused node of
    the source that is left as it is. Byte counts are of one execution: `score_bytes_saved` is what the softmax's
    operand and result took in the source, which are alive together, `mask_bytes` what the fused node's mask and bias
    take; a mask that several sites of a graph read counts at the first of them. `failure` says what was in the way,
    where that was neither policy nor target. `region` are the nodes of the source that the site consists of, as text
    lines in graph order. `not_taken` are the other forms it could have had, in the order they were considered.
    """

    id: str = ""
    module: str
    graph: str
    anchor: str
    form: Form
    status: Status
    code: str
    reason: str
    rule: str | None = None
    operator: str | None = None
    layout: str | None = None
    layout_reason: str = ""
    stands_for: str | None = None
    query_shape: tuple[int, ...] | None = None
    key_shape: tuple[int, ...] | None = None
    value_shape: tuple[int, ...] | None = None
    compute_dtype: str | None = None
    output_dtype: str | None = None
    scale: float | None = None
    scale_factors: tuple[float, ...] = ()
    mask: str | None = None
    fully_masked_rows: FullyMaskedRows | None = None
    head_dim_padding: int = 0
    padded_by_weights: tuple[str, ...] = ()
    precision: Precision | None = None
    precision_reason: str = ""
    casts: int = 0
    score_bytes_saved: int = 0
    mask_bytes: int = 0
    warnings: tuple[str, ...] = ()
    failure: FailureReason | None = None
    facts: SiteFacts = field(default_factory=SiteFacts)
    identities: tuple[AppliedIdentity, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    not_taken: tuple[NotTaken, ...] = ()
    region: tuple[str, ...] = ()
