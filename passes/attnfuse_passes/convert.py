"""Fused nodes that the source already holds: carried over, rewritten to the other runtime's node, cast anew, or
written out as the formula again where policy or target want no fused node.

mindone places FlashAttentionScore itself on an Ascend host, and always in its Flux, Wan and LTX models; MindSpore Lite
keeps the arguments of PromptFlashAttention only, MindSpore has both. The two differ in argument order, in whether the
bias comes before or after the scale, and in what they accept; see fused_source.py and emit/fused.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from attnfuse.api import (
    BUILT_IN,
    Builder,
    Context,
    Decision,
    DType,
    Edit,
    MatchFailure,
    Model,
    Node,
    NodeKind,
    NotWritableError,
    Refusal,
    SiteQuery,
    SiteRecord,
    head_padding,
    refusals,
)
from attnfuse_passes.attention.fused_node import (
    BSND,
    FusedSource,
    Lift,
    check_plain,
    describe,
    find_lift,
    only_output,
    read,
    request_of,
)
from attnfuse_passes.attention.lower.formula import restore_formula
from attnfuse_passes.attention.producers import known_wrong
from attnfuse_passes.emit.fused import BNSD, BSH, LAYOUTS, FusedNode, flash_attention_score, prompt_flash_attention
from attnfuse_passes.naming import SiteNames
from attnfuse_passes.records import kept


def convert_fused(
    model: Model, context: Context, edit: Edit, node: Node, names: SiteNames, dead: list[Node]
) -> SiteRecord:
    """The record of an already fused node, with the edit that rewrites it where it cannot stay.

    Nodes that a rewrite leaves without a purpose are added to `dead`.
    """
    record = describe(model, node, names.of_values(node, *node.inputs[:3]))
    record = replace(record, warnings=known_wrong(model, node))
    decision = context.policy.decide(SiteQuery(context.component, context.owner, record.module, record.facts))
    lift = find_lift(model, node)
    return _Site(model, context, edit, node, record, decision, lift, names.slug(record.module), dead).visit()


@dataclass(slots=True)
class _Site:
    """One fused node of the source on its way to a record."""

    model: Model
    context: Context
    edit: Edit
    node: Node
    record: SiteRecord
    decision: Decision
    lift: Lift | None
    slug: str
    dead: list[Node]

    def visit(self) -> SiteRecord:
        """Policy first, then what the target has, then the node that it takes."""
        decision, target, lift = self.decision, self.context.target, self.lift
        lack = target.lack_of(self._kind, self.model.proto.model_version)
        try:
            if not decision.flash:
                return self._restore("policy.flash_off", "flash attention is off", decision.flash_rule)
            if lift is not None and decision.force_cast_dtype is None:
                return self._restore("policy.no_cast", "force_cast_dtype is none", decision.cast_rule)
            if lack is not None:
                reason = f"{self._kind} wants {lack.expected}, not {lack.found} ({lack.source})"
                return self._restore(lack.code, reason, None)
            if target.node != self._kind:
                reason = f"a {self._kind} of the source is left as it is for the {target.runtime} runtime"
                return replace(kept(self.record, "structure.fused_arguments", reason, None), node=self._kind)
            compute = self._compute_dtype()
            if self.node.op != self._kind or compute is not None:
                return self._rewrite(compute)
            no = self._refused()
            if no:
                return self._restore(no[0].code, no[0].told(self._kind, target.soc), None)
        except NotWritableError as error:
            expected = "tensors of known types that go together"
            return self._stays(MatchFailure("facts.type", self.node.name, expected, str(error)))
        except MatchFailure as failure:
            return self._stays(failure)
        return replace(
            self.record,
            code="fused.carried_over",
            reason="already fused in the source",
            rule=self._rule,
            node=self.node.op,
            warnings=(*self.record.warnings, *self._doubts()),
        )

    def _stays(self, failure: MatchFailure) -> SiteRecord:
        """The record of a node that can be neither left in the target's terms nor rewritten."""
        stays = "" if self.node.op != self._kind else "; the fused node is left as it is"
        node = self.node.op if stays else None
        found = replace(self.record, status="missed", code=failure.miss.code, miss=failure.miss, node=node)
        return replace(found, reason=str(failure) + stays)

    @property
    def _kind(self) -> NodeKind:
        """What the node is to be: MindSpore takes both operators, Lite PromptFlashAttention alone."""
        return "PromptFlashAttention" if self.node.op == "PromptFlashAttention" else self.context.target.node

    @property
    def _rule(self) -> str:
        return self.decision.flash_rule if self.lift is None else self.decision.cast_rule

    def _compute_dtype(self) -> DType | None:
        """What the policy wants the operands cast to instead; None where it asks for nothing else than is there.

        Only a rule changes a cast: the default speaks for graphs in which nobody has decided yet.
        """
        wanted = self.decision.force_cast_dtype
        if self.lift is None or wanted is None or self.decision.cast_rule == BUILT_IN:
            return None
        return None if wanted.name == self.record.compute_dtype else wanted

    def _restore(self, code: str, reason: str, rule: str | None) -> SiteRecord:
        """The formula again; where it cannot be had, MatchFailure."""
        found = read(self.model, self.node)
        self.dead += restore_formula(self.model, self.edit, found, self.lift, self.slug)
        return replace(
            kept(self.record, code, f"{reason}: the formula is restored", rule), compute_dtype="float32", node=None
        )

    def _rewrite(self, compute: DType | None) -> SiteRecord:
        """The target's node with the same tensors, cast to `compute` if that is given."""
        found = read(self.model, self.node)
        check_plain(found)
        if found.scale == 0.0:
            raise MatchFailure("facts.scale", self.node.name, "a scale other than 0", str(found.scale))
        target = self.context.target
        request = request_of(self.model, found)
        if min(request.kv_heads, request.head_dim) < 0:
            raise MatchFailure(
                "facts.dynamic_layout", self.node.name, "a known number and size of heads", "an unknown one"
            )
        if compute is not None:
            request = replace(request, dtype=compute.name)
        no = refusals(target, request)
        if no:
            # Lite has no FlashAttentionScore at all: what PromptFlashAttention cannot say is said by the formula.
            return self._restore(no[0].code, no[0].told(target.node, target.soc), None)
        if not self._holds_bias(found, compute):
            reason = f"the bias, in 16 bits and times a scale of {found.scale:g}, would be rounded anew"
            return self._restore("target.bias_rounded", reason, None)
        heads, kv_heads, width = request.heads, request.kv_heads, request.head_dim
        pad = head_padding(target, request)
        result = only_output(self.model, self.node)
        lift = self.lift if compute is not None else None
        anchor = result if lift is None else lift.back
        b = Builder(self.edit, anchor, self.slug)
        operands = self.node.inputs[:3] if lift is None else lift.operands

        def enter(position: int, count: int) -> str:
            tensor = operands[position]
            if compute is not None:
                tensor = b.cast(tensor, compute)
            kind = b.type_of(tensor)
            if found.layout == BSH and pad:
                tensor = b.reshape(tensor, (*kind.dims[:2], count, width))
            tensor = b.pad_last(tensor, pad)
            return tensor if found.layout == BNSD else b.reshape(tensor, (*kind.dims[:2], count * (width + pad)))

        query, key, value = enter(0, heads), enter(1, kv_heads), enter(2, kv_heads)
        fused = FusedNode(
            query=query,
            key=key,
            value=value,
            layout=BNSD if found.layout == BNSD else BSH,
            heads=heads,
            kv_heads=kv_heads,
            scale=found.scale,
            discard=found.mask,
            bias=self._bias(b, found),
        )
        write = flash_attention_score if target.node == "FlashAttentionScore" else prompt_flash_attention
        attention = write(b, fused)
        dims = b.type_of(self.node.inputs[0]).dims
        if found.layout != BNSD and (pad or found.layout == BSND):
            attention = b.reshape(attention, (*dims[:2], heads, width + pad))
        attention = b.take_last(attention, width if pad or found.layout != BSH else dims[-1])
        attention = b.reshape(attention, dims)
        if lift is not None:
            attention = b.cast(attention, lift.dtype)
        b.finish(attention)
        self.dead += [node for node in (self.node, result) if node is not anchor]
        converted = target.node != self.node.op
        return replace(
            self.record,
            code="fused.converted" if converted else "fused.cast_anew",
            reason=f"{self.node.op} of the source, "
            + ("rewritten for MindSpore Lite" if converted else "cast as the policy says"),
            rule=self._rule,
            node=target.node,
            layout=LAYOUTS[fused.layout],
            compute_dtype=request.dtype,
            mask="additive" if found.shift is not None else "bool" if found.mask is not None else None,
            padded_head=pad,
            casts=b.casts,
        )

    def _factor(self, found: FusedSource) -> float:
        """What the bias has to be multiplied by: the node it came from may scale it, and the new one does not."""
        return found.scale if found.shift_scaled and self._kind == "PromptFlashAttention" else 1.0

    def _holds_bias(self, found: FusedSource, compute: DType | None) -> bool:
        """Whether the new node's bias is the old one's exactly: the same type, and a factor that is a power of two.

        The old node adds the bias in float32. Rounded anew to 16 bits a large one (ALiBi over long sequences) would be
        off by more than all the rest of the node.
        """
        if found.shift is None:
            return True
        kind = self.model.type_of(found.shift)
        same = compute is None or (kind is not None and kind.dtype == compute)
        return same and abs(math.frexp(self._factor(found))[0]) == 0.5

    def _bias(self, b: Builder, found: FusedSource) -> str | None:
        """The shift, scaled where the node it came from did that and the new one does not."""
        return None if found.shift is None else b.scaled(found.shift, self._factor(found))

    def _refused(self) -> tuple[Refusal, ...]:
        """What the target's documentation says against the node as it is, if it can be read at all.

        Operands in float32 are the producer's doing, which gets a warning by name and stays (see producers.py).
        """
        try:
            request = request_of(self.model, read(self.model, self.node))
        except MatchFailure:
            return ()
        no = refusals(self.context.target, request)
        return tuple(n for n in no if (n.code, request.dtype) != ("target.dtype", "float32"))

    def _doubts(self) -> tuple[str, ...]:
        """What is not known to be right of a node that is carried over as it is."""
        op, target = self.node.op, self.context.target
        try:
            request = request_of(self.model, read(self.model, self.node))
        except MatchFailure as failure:
            return (f"{op} of the source: {failure}",)
        if head_padding(target, request):
            return (f"{op} of the source has a head size of {request.head_dim}, not a multiple of 16 as documented",)
        return ()
