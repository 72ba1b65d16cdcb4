"""What is done with an attention: policy first, then what each lowering says against it, then the first that is left.

A formula becomes the fused node of the target, or stays. A fused node of the source stays where the target takes it as
it is, becomes the target's where not, and the formula again where policy or target want no fused node. Every candidate
is complete, with what speaks against it, before a node is written.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TypeAlias

from attnfuse.api import (
    ASSUMPTION,
    BUILT_IN,
    Decision,
    DType,
    Effects,
    FailureReason,
    FusedNodeFacts,
    MatchFailure,
    Model,
    NotWritableError,
    PolicyDecision,
    Refusal,
    Rewrite,
    RewriteContext,
    RewriteOutcome,
    SiteQuery,
    Unsupported,
    WeightReader,
    dtypes,
    refusals,
    short_name,
)
from attnfuse_passes.attention.candidates import AttentionCandidate
from attnfuse_passes.attention.layouts import leaves_less
from attnfuse_passes.attention.lower import FUSED_OPERATORS
from attnfuse_passes.attention.lower.formula import Formula
from attnfuse_passes.attention.lower.fused import FusedOperator
from attnfuse_passes.attention.mask_values import MAX_ELEMENTS, ConstantFolder
from attnfuse_passes.attention.masks import plan_masks
from attnfuse_passes.attention.normal_form import Attention, Layout, UnreadFusedNode
from attnfuse_passes.attention.precision import settled
from attnfuse_passes.attention.record import failed_record, site_record
from attnfuse_passes.naming import SiteNames, slug

Raised: TypeAlias = Attention | UnreadFusedNode
_Decision: TypeAlias = Decision[AttentionCandidate]
FORMULA = Formula()


@dataclass(frozen=True, slots=True)
class Sites:
    """What the sites of one graph share. `constants` knows what may be written anew, `values` the weights too."""

    names: SiteNames
    constants: ConstantFolder
    values: ConstantFolder

    @classmethod
    def of(cls, model: Model, effects: Effects, weights: WeightReader, largest: int = MAX_ELEMENTS) -> Sites:
        """Those of a graph, before the first is looked at; constants of more than `largest` elements are not known."""
        constants = ConstantFolder(model, effects, largest=largest)
        return cls(SiteNames(model), constants, ConstantFolder(model, effects, weights, largest=largest))


class AttentionRewrite(Rewrite[Raised, AttentionCandidate]):
    """An attention of the source, in whatever form: decided here, raised where each form is read."""

    lowerings: tuple[FusedOperator | Formula, ...] = (*FUSED_OPERATORS.values(), FORMULA)

    def __init__(self, sites: Sites) -> None:
        self.sites = sites

    @abstractmethod
    def raise_(self, at: RewriteContext) -> Raised | None: ...

    def name(self, form: Raised, at: RewriteContext) -> str:
        """The site's, as part of a node's name."""
        return slug(form.origin.module)

    def decide(self, form: Raised, at: RewriteContext) -> _Decision:
        """Which candidate is written, or why all stays as it is."""
        origin, context = form.origin, at.context
        policy = context.policy.decide(SiteQuery(context.component, context.owner, origin.module, origin.facts))
        if origin.form == "formula" and isinstance(form, Attention):
            return _decide_formula(form, self.sites, policy, at)
        return _decide_fused_node(form, self.sites, policy, at)

    def failed(self, form: Raised | None, failure: MatchFailure | NotWritableError, at: RewriteContext) -> _Decision:
        """The decision where nothing was read, or where the builder does not take what was to be written."""
        if isinstance(failure, NotWritableError):
            expected = "a tensor of a known type that goes with the others"
            failure = MatchFailure("facts.type", failure.at, expected, failure.found)
        decision = _missed(form, failure.reason, at)
        return decision if failure.is_attention else replace(decision, status="not_attention")

    def record(self, outcome: RewriteOutcome[Raised, AttentionCandidate], at: RewriteContext) -> None:
        """One record for each site, whatever became of it."""
        if outcome.form is None:
            made = failed_record(outcome.node, self.sites.names.of_softmax(outcome.node), outcome.decision)
        else:
            made = site_record(outcome.form, outcome.decision, outcome.casts)
        at.context.sites.append(made)


def _missed(form: Raised | None, failure: FailureReason, at: RewriteContext) -> _Decision:
    """What could not be proved, or not be stated otherwise; a fused node that the target may load stays."""
    reason = f"expected {failure.expected}, found {failure.found}"
    if form is None or form.origin.form == "formula":
        return Decision(code=failure.code, reason=f"{reason} at {short_name(failure.at)}", failure=failure)
    stays = _may_stay(at)
    reason += "; the fused node is left as it is" if stays else ""
    return Decision(code=failure.code, reason=reason, failure=failure, node=at.node.op if stays else None)


def _veto(policy: PolicyDecision, *, is_cast: bool) -> tuple[Unsupported, str] | None:
    """What the policy says against any fused node, and its rule. `is_cast`: the node's operands would be cast."""
    if not policy.flash:
        return Unsupported("policy.flash_off", "flash attention is off"), policy.flash_rule
    if is_cast and policy.force_cast_dtype is None:
        return Unsupported("policy.no_cast", "force_cast_dtype is none"), policy.force_cast_dtype_rule
    return None


def _propose(
    candidate: AttentionCandidate, attention: Attention, sites: Sites, policy: PolicyDecision, at: RewriteContext
) -> AttentionCandidate:
    """The candidate with its masks, precision and layout, the zeros its heads need, and what speaks against it."""
    operator = FUSED_OPERATORS[candidate.form]
    if operator.form == at.target.node:
        try:
            masks = plan_masks(
                at.model,
                sites.constants,
                sites.values,
                attention,
                candidate.dtype,
                before_scale=operator.bias_before_scale,
                no_fully_masked_rows=policy.assume_no_fully_masked_rows,
            )
        except MatchFailure as failure:
            return replace(candidate, unsupported=Unsupported.of(failure))
        candidate = replace(candidate, masks=masks)
        grouped = settled(operator, candidate, attention, policy, at)
        if grouped.unsupported is None or grouped.unsupported.code != "target.grouped_heads":
            return grouped
        whole = settled(operator, replace(candidate, ungrouped=True), attention.without_groups(), policy, at)
        # The groups are the reason only where key and value cannot be repeated.
        return grouped if whole.unsupported is not None and whole.unsupported.failure is not None else whole
    return replace(candidate, unsupported=operator.unsupported_reason(attention, candidate, at))


# --- a formula of the source


def _decide_formula(attention: Attention, sites: Sites, policy: PolicyDecision, at: RewriteContext) -> _Decision:
    """The fused node of the target, or the formula as it is."""
    origin = attention.origin
    if any(view.value in at.replaced for view in attention.results):
        failure = MatchFailure("safety.shared_product", origin.anchor, "a product of one site", "one of two sites")
        return _missed(attention, failure.reason, at)
    own = _own_dtype(attention)
    dtype = own or policy.force_cast_dtype
    veto = _veto(policy, is_cast=own is None)
    candidates = []
    for form in FUSED_OPERATORS:
        candidate = AttentionCandidate(
            form=form,
            anchor=origin.anchor,
            removes=origin.interior,
            dtype=dtype or dtypes.FLOAT16,
            layout="BNSD" if attention.axes.heads_known else "BSH",
        )
        if veto is not None:
            candidates.append(replace(candidate, unsupported=veto[0]))
        else:
            candidates.append(_propose(candidate, attention, sites, policy, at))
    chosen = next((candidate for candidate in candidates if candidate.unsupported is None), None)
    others = tuple(candidate for candidate in candidates if candidate is not chosen)
    if chosen is None:
        return replace(_left(attention, candidates, veto, at), others=others)
    obligations = (*origin.obligations, *chosen.masks.obligations)
    assumed = sum(o.kind == ASSUMPTION for o in obligations)
    told = f", {assumed} assumed" if assumed else ""
    low = all(operand.dtype.is_low_precision for operand in attention.operands)
    return Decision(
        chosen=chosen,
        others=others,
        status="fused",
        code="fused",
        reason=f"{len(obligations) - assumed} obligations proved{told}",
        rule=policy.flash_rule if low else policy.force_cast_dtype_rule,
        node=chosen.form,
    )


def _left(
    attention: Attention,
    candidates: list[AttentionCandidate],
    veto: tuple[Unsupported, str] | None,
    at: RewriteContext,
) -> _Decision:
    """A formula that stays, for the reason that the target's own node cannot be."""
    why = next(candidate.unsupported for candidate in candidates if candidate.form == at.target.node)
    assert why is not None
    if why.failure is not None:
        return _missed(attention, why.failure, at)
    return Decision(status="kept", code=why.code, reason=why.reason, rule=None if veto is None else veto[1])


def _own_dtype(attention: Attention) -> DType | None:
    """float16 and bfloat16 go in as they are; anything else is cast as the policy says, or not at all."""
    own = {operand.dtype for operand in attention.operands}
    (dtype, *others) = own
    return dtype if not others and dtype.is_low_precision else None


# --- a fused node of the source


def _decide_fused_node(form: Raised, sites: Sites, policy: PolicyDecision, at: RewriteContext) -> _Decision:
    """The node as it is, the target's node, or the formula."""
    op, target = at.node.op, at.target
    recast = _recast(form, policy)
    is_cast = form.casts is not None or _is_wide(form)
    veto = _veto(policy, is_cast=is_cast) or _lack(at)
    as_it_is, formula = _candidate(form, op, at, is_recast=False), _formula_candidate(form, at)
    if veto is not None:
        return _restored(form, formula, veto[0], veto[1], at, as_it_is)
    if _may_stay(at) and target.node != op:
        reason = f"a {op} of the source is left as it is for the {target.runtime} runtime"
        return Decision(status="kept", code="structure.fused_arguments", reason=reason, node=op, others=(formula,))
    rule = policy.force_cast_dtype_rule if is_cast else policy.flash_rule
    refused = _refused(form, at) if _may_stay(at) and recast is None else None
    if _may_stay(at) and recast is None and refused is None:
        anew = _fused_candidate(form, None, sites, policy, at)
        if isinstance(form, Attention) and anew.unsupported is None and leaves_less(anew, form):
            return Decision(
                chosen=anew,
                others=(as_it_is, formula),
                status="fused",
                code="fused.laid_out",
                reason=f"{op} of the source, in {anew.layout}",
                rule=rule,
                node=op,
            )
        return Decision(
            others=(formula,),
            status="fused",
            code="fused.carried_over",
            reason="already fused in the source",
            rule=rule,
            node=op,
            warnings=_doubts(form, at),
        )
    candidate = _fused_candidate(form, recast, sites, policy, at)
    if candidate.unsupported is not None and refused is not None:
        return _restored(form, formula, refused, None, at, as_it_is)
    if candidate.unsupported is not None:
        if candidate.unsupported.failure is not None:
            return replace(_missed(form, candidate.unsupported.failure, at), others=(candidate, formula))
        # Lite has no FlashAttentionScore at all: what its node cannot say is said by the formula.
        return _restored(form, formula, candidate.unsupported, None, at, candidate)
    converted = target.node != op
    if refused is not None:
        code, reason = "fused.rewritten", f"written again: {refused.reason}"
    elif converted:
        code, reason = "fused.converted", "rewritten for MindSpore Lite"
    else:
        code, reason = "fused.recast", "cast as the policy says"
    return Decision(
        chosen=candidate,
        others=(formula,),
        status="fused",
        code=code,
        reason=f"{op} of the source, {reason}",
        rule=rule,
        node=target.node,
    )


def _may_stay(at: RewriteContext) -> bool:
    """Whether the runtime loads the fused node of the source: MindSpore has them all, Lite its own alone."""
    return at.target.runtime != "lite" or at.node.op == at.target.node


def _lack(at: RewriteContext) -> tuple[Unsupported, None] | None:
    """What the target or the MindSpore of the graph lacks for the node that it would be."""
    known = FUSED_OPERATORS.get(at.node.op)
    if known is None:
        return None
    node = known.form if _may_stay(at) else at.target.node
    lack = at.target.missing_operator(node, at.model.proto.model_version)
    if lack is None:
        return None
    return Unsupported(lack.code, f"{node} wants {lack.expected}, not {lack.found} ({lack.source})"), None


def _recast(form: Raised, policy: PolicyDecision) -> DType | None:
    """What the policy wants the operands cast to instead; None where it asks for nothing else than is there.

    Only a rule changes a cast: the default speaks for graphs in which nobody has decided yet, as in one whose fused
    node is given float32.
    """
    wanted = policy.force_cast_dtype
    if _is_wide(form):
        return wanted
    if form.casts is None or wanted is None or policy.force_cast_dtype_rule == BUILT_IN:
        return None
    return None if wanted == _dtype(form) else wanted


def _dtype(form: Raised) -> DType | None:
    """The element type of the node's query."""
    if isinstance(form, Attention):
        return form.query.dtype
    given = next(iter(form.types), None)
    return None if given is None else given.dtype


def _is_wide(form: Raised) -> bool:
    """Whether the node is given float32, which it does not take and the policy casts as it does a formula's."""
    return isinstance(form, Attention) and not form.query.dtype.is_low_precision


def _fused_candidate(
    form: Raised, recast: DType | None, sites: Sites, policy: PolicyDecision, at: RewriteContext
) -> AttentionCandidate:
    """The target's node with the same tensors, cast to `recast` if that is given."""
    candidate = _candidate(form, at.target.node, at, is_recast=recast is not None)
    if not isinstance(form, Attention):
        return candidate
    candidate = replace(candidate, dtype=recast or form.query.dtype)
    return _propose(candidate, form, sites, policy, at)


def _formula_candidate(form: Raised, at: RewriteContext) -> AttentionCandidate:
    """The formula of the node and of the casts around it."""
    candidate = _candidate(form, FORMULA.form, at, is_recast=form.casts is not None)
    if not isinstance(form, Attention):
        return candidate
    return replace(candidate, unsupported=FORMULA.unsupported_reason(form, candidate, at))


def _candidate(form: Raised, name: str, at: RewriteContext, *, is_recast: bool) -> AttentionCandidate:
    """A form for a fused node of the source: with `is_recast`, in the place of the casts around it too."""
    origin = form.origin
    anchor = form.casts.result if is_recast and form.casts is not None else origin.anchor
    return AttentionCandidate(
        form=name,
        anchor=anchor,
        removes=tuple(value for value in origin.interior if value != anchor),
        dtype=dtypes.FLOAT32,
        layout=_layout(form, name),
        recast=is_recast,
        unsupported=None if isinstance(form, Attention) else _unread(form),
    )


def _layout(form: Raised, name: str) -> Layout:
    """The node's own; a fused node is written in no SBH."""
    own = form.layout if isinstance(form, Attention) else None
    return "BSH" if own == "SBH" and name != FORMULA.form else own or "BNSD"


def _unread(form: UnreadFusedNode) -> Unsupported:
    failure = form.failure
    return Unsupported(failure.code, f"expected {failure.expected}, found {failure.found}", failure)


def _restored(
    form: Raised,
    formula: AttentionCandidate,
    why: Unsupported,
    rule: str | None,
    at: RewriteContext,
    refused: AttentionCandidate,
) -> _Decision:
    """The formula again, for a reason of policy or target; the node stays where that cannot be had."""
    refused = replace(refused, unsupported=why)
    if formula.unsupported is not None and formula.unsupported.failure is not None:
        return replace(_missed(form, formula.unsupported.failure, at), others=(refused, formula))
    reason = f"{why.reason}: the formula is restored"
    return Decision(chosen=formula, others=(refused,), status="kept", code=why.code, reason=reason, rule=rule)


def _refused(form: Raised, at: RewriteContext) -> Unsupported | None:
    """What the target has against the node as it is, if it can be read at all.

    FlashAttentionScore with a head size that its documentation does not take gets a warning and stays.
    """
    given = form.given
    if not isinstance(given, FusedNodeFacts):
        return None
    no = [n for n in refusals(at.target, given) if not _is_doubt(n, at)]
    return Unsupported(no[0].code, no[0].message(at.node.op, at.target.soc)) if no else None


def _doubts(form: Raised, at: RewriteContext) -> tuple[str, ...]:
    """What is not known to be right of a node that is carried over as it is."""
    op, given = at.node.op, form.given
    if isinstance(given, FailureReason):
        return (f"{op} of the source: expected {given.expected}, found {given.found}",)
    if given is not None and any(_is_doubt(refusal, at) for refusal in refusals(at.target, given)):
        head = form.origin.facts.head_dim
        return (f"{op} of the source has a head size of {head}, not a multiple of 16 as documented",)
    return ()


def _is_doubt(refusal: Refusal, at: RewriteContext) -> bool:
    """Whether it is only told of: MindSpore itself infers a fused node of any head size."""
    return at.target.runtime != "lite" and refusal.code == "target.head_multiple"
