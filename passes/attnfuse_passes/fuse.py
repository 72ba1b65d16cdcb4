"""The pass that fuses: every Softmax and every fused node of the source ends with a record of what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from attnfuse.api import (
    IDENTITIES,
    Builder,
    Context,
    Decision,
    DType,
    Edit,
    Effects,
    FusedRequest,
    MatchFailure,
    Miss,
    Model,
    Node,
    NotWritableError,
    Property,
    Role,
    SiteFacts,
    SiteQuery,
    SiteRecord,
    TakeExtensions,
    dtypes,
    eliminate_dead_code,
    head_padding,
    refusals,
    region_lines,
    role,
)
from attnfuse_passes.attention.axes import UNKNOWN, Axis, product
from attnfuse_passes.attention.formula import read_attention
from attnfuse_passes.attention.heads import Heads, split_heads
from attnfuse_passes.attention.identities import peelers
from attnfuse_passes.attention.lower import operands as arrange
from attnfuse_passes.attention.mask_values import MAX_ELEMENTS, ConstantFolder
from attnfuse_passes.attention.masks import ABSORBING, Bias, Discard, Masking, Summand, read_masking
from attnfuse_passes.attention.normal_form import AttentionExpr
from attnfuse_passes.convert import convert_fused
from attnfuse_passes.emit.fused import BNSD, BSH, LAYOUTS, FusedNode, flash_attention_score, prompt_flash_attention
from attnfuse_passes.kinds import self_or_cross
from attnfuse_passes.naming import SiteNames
from attnfuse_passes.records import kept, missed


@dataclass(frozen=True, slots=True)
class Fuse:
    """Rewrites what is proved to be attention to the target's fused node, as far as policy and target allow.

    `largest_constant` is how many elements a mask has at most that is computed here and kept in the graph. Of a larger
    one no number is known: its site keeps the formula where the fused node would need to know them.
    """

    id: ClassVar[str] = "fuse"
    order: ClassVar[int] = 100
    summary: ClassVar[str] = "softmax(QKᵀ)V, however spelled, becomes one fused node"
    ensures: ClassVar[frozenset[Property]] = frozenset({Property.DECIDED})
    takes: ClassVar[Mapping[str, TakeExtensions]] = {IDENTITIES: peelers.extend}

    largest_constant: Annotated[int, Field(ge=0)] = MAX_ELEMENTS

    def run(self, model: Model, context: Context) -> bool:
        """Visit the sites in file order; all edits are applied at the end, at once."""
        effects = Effects.of(model)
        edit, names = Edit(model), SiteNames(model)
        folder = ConstantFolder(model, effects, largest=self.largest_constant)
        known = ConstantFolder(model, effects, context.weights, largest=self.largest_constant)
        dead: list[Node] = []
        for node in model.nodes:
            if role(node) is Role.SOFTMAX:
                context.sites.append(_Site(model, context, edit, effects, folder, known, node, names, dead).visit())
            elif role(node) is Role.FUSED_ATTENTION:
                context.sites.append(convert_fused(model, context, edit, node, names, dead))
        if edit.is_empty:
            return False
        before = {node.proto.op_type for node in model.nodes}
        anchors = [model.producer(name) for name in edit.replace]
        operands = {name: model.producer(name) for anchor in anchors if anchor is not None for name in anchor.inputs}
        edit.apply()
        dead += [node for name, node in operands.items() if node is not None and not model.uses(name)]
        eliminate_dead_code(model, [node.name for node in dead], before)
        return True


@dataclass(slots=True)
class _Site:
    """One Softmax on its way to a record."""

    model: Model
    context: Context
    edit: Edit
    effects: Effects
    folder: ConstantFolder
    known: ConstantFolder
    softmax: Node
    names: SiteNames
    dead: list[Node]

    def visit(self) -> SiteRecord:
        """Match, then policy, then target, then rewrite; the first that says no ends it, with its reason."""
        try:
            expr = read_attention(self.model, self.softmax, self.effects)
        except MatchFailure as failure:
            module = self.names.of_softmax(self.softmax)
            return missed(self.softmax, module, failure.miss, "missed" if failure.is_attention else "not_attention")
        module = self.names.of(expr)
        record = _describe(self.model, expr, module)
        if expr.anchor.name in self.edit.replace:
            found = Miss("safety.shared_product", expr.anchor.name, "a product of one site", "one of two sites")
            return missed(expr.softmax, module, found, "missed", record)
        query = SiteQuery(self.context.component, self.context.owner, module, record.facts)
        decision = self.context.policy.decide(query)
        if not decision.flash:
            return kept(record, "policy.flash_off", "flash attention is off", decision.flash_rule)
        compute = _compute_dtype(expr, decision)
        if compute is None:
            return kept(record, "policy.no_cast", "force_cast_dtype is none", decision.cast_rule)
        try:
            return self._fuse(expr, record, decision, compute)
        except MatchFailure as failure:
            return missed(expr.softmax, module, failure.miss, "missed", record)
        except NotWritableError as error:
            found = Miss("facts.type", error.at, "a tensor of a known type that goes with the others", error.found)
            return missed(expr.softmax, module, found, "missed", record)

    def _fuse(self, expr: AttentionExpr, record: SiteRecord, decision: Decision, compute: DType) -> SiteRecord:
        target = self.context.target
        heads = split_heads(expr)
        attended = decision.rows_attended
        masking = read_masking(
            self.model, self.folder, self.known, expr, heads, compute, target.node, rows_attended=attended
        )
        plan = _Plan(expr, heads, masking, compute)
        request = plan.request()
        no = refusals(target, request, self.model.proto.model_version)
        if no:
            return kept(record, no[0].code, no[0].told(target.node, target.soc), None)
        padding = head_padding(target, request)
        lengths = (request.batch, request.query_length, request.key_length)
        sizes = (product(expr.axis("inner")), product(expr.axis("outer")), request.heads, request.kv_heads)
        if min(sizes) < 0 or (padding and UNKNOWN in lengths):
            # MindSpore's inference forgets every size of a padded value of which it does not know all.
            found = Miss(
                "facts.dynamic_head", expr.anchor.name, "known sizes, or a head size that needs no padding", "neither"
            )
            return missed(expr.softmax, record.module, found, "missed", record)
        builder = Builder(self.edit, expr.anchor, self.names.slug(record.module))
        return plan.write(builder, record, target.node, padding, decision, self.dead)


def _compute_dtype(expr: AttentionExpr, decision: Decision) -> DType | None:
    """float16 and bfloat16 go in as they are; anything else is cast as the policy says, or not at all."""
    kinds = {operand.dtype for operand in (expr.query, expr.key, expr.value)}
    if len(kinds) == 1 and next(iter(kinds)).is_low_precision:
        return next(iter(kinds))
    return decision.force_cast_dtype


def _describe(model: Model, expr: AttentionExpr, module: str) -> SiteRecord:
    """What is known of a matched site before anything is decided."""
    space = expr.space

    def dims(*groups: Axis) -> tuple[int, ...]:
        return tuple(product(group) for group in groups)

    batch, rows, columns = expr.batch, expr.axis("rows"), expr.axis("columns")
    return SiteRecord(
        module=module,
        graph=expr.anchor.graph.name,
        anchor=expr.anchor.name,
        form="formula",
        status="missed",
        code="",
        reason="",
        query=dims(batch, rows, expr.axis("inner")),
        key=dims(batch, columns, expr.axis("inner")),
        value=dims(batch, columns, space["outer"].axes[0]),
        dtype=expr.query.dtype.name,
        restored_dtype=expr.output_dtype.name,
        scale=expr.scale,
        scale_factors=tuple(expr.factors),
        peels=tuple(expr.peels),
        obligations=tuple(expr.obligations),
        facts=_facts(model, expr),
        region=region_lines(model, expr.interior),
    )


def _facts(model: Model, expr: AttentionExpr) -> SiteFacts:
    """What policy rules may ask of a matched site."""

    def known(size: int) -> int | None:
        return None if size == UNKNOWN else size

    rows, columns, inner = (known(product(expr.axis(name))) for name in ("rows", "columns", "inner"))
    attention = self_or_cross(model, expr.query.value, expr.key.value, expr.value.value)
    return SiteFacts(rows, columns, inner, expr.query.dtype.name, attention)


@dataclass(slots=True)
class _Plan:
    """A matched attention with everything decided; what remains is to write it."""

    expr: AttentionExpr
    heads: Heads
    masking: Masking
    compute: DType

    @property
    def per_head_mask(self) -> bool:
        own = {atom.key for atom in self.heads.heads}
        views = [self.expr.space[d.view] for d in self.masking.discards]
        constant = self.masking.constant_discard
        return any(atom.key in own for view in views for atom in view.source) or (
            constant is not None and constant.shape[1] > 1
        )

    @property
    def width(self) -> int:
        """Head size of the node: where query's and value's differ, the narrower is padded with zeros to the wider."""
        return max(product(self.expr.axis("inner")), product(self.expr.axis("outer")))

    def request(self) -> FusedRequest:
        """What the target is asked for."""
        masking = self.masking
        mask = None if not masking.discarding else "per_head" if self.per_head_mask else "shared"
        return FusedRequest(
            batch=product(self.heads.batch),
            heads=self.heads.count,
            kv_heads=self.heads.kv_count,
            query_length=product(self.expr.axis("rows")),
            key_length=product(self.expr.axis("columns")),
            head_dim=self.width,
            dtype=self.compute.name,
            mask=mask,
            bias=masking.biased,
        )

    def write(
        self, b: Builder, record: SiteRecord, node: str, padding: int, decision: Decision, dead: list[Node]
    ) -> SiteRecord:
        """Put the nodes into the edit and complete the record."""
        expr, heads, masking = self.expr, self.heads, self.masking
        layout = BNSD if heads.known else BSH
        rows, columns, inner, outer = (expr.axis(name) for name in ("rows", "columns", "inner", "outer"))
        width = self.width + padding

        def axes(own: Axis, length: Axis, last: Axis) -> list[Axis]:
            return [heads.batch, own, length, last] if heads.known else [heads.batch, length, last]

        def enter(operand_axes: list[Axis], name: str) -> str:
            operand = getattr(expr, name)
            value = arrange.operand(b, expr, operand, operand_axes)
            value = b.cast(value, self.compute)
            return b.pad_last(value, width - b.type_of(value).dims[-1])

        query = enter(axes(heads.heads, rows, inner), "query")
        key = enter(axes(heads.kv, columns, inner), "key")
        unpadded = arrange.operand(b, expr, expr.value, axes(heads.kv, columns, outer))
        value = b.pad_last(b.cast(unpadded, self.compute), width - product(outer))
        scale = expr.scale
        if node == "FlashAttentionScore" and masking.biased and not masking.divide:
            query, scale = b.scaled(query, scale), 1.0
        discard, condition = self._discard(b)
        bias: str | None
        if masking.shifted:
            query, bias, condition = self._shifted_bias(b, query)
        else:
            bias = self._bias(b, 1.0 / scale if node == "FlashAttentionScore" else 1.0)
        fused = FusedNode(
            query=query,
            key=key,
            value=value,
            layout=layout,
            heads=heads.count,
            kv_heads=heads.kv_count,
            scale=scale,
            discard=discard,
            bias=bias,
        )
        write = flash_attention_score if node == "FlashAttentionScore" else prompt_flash_attention
        result = b.take_last(write(b, fused), product(outer))
        if masking.guard is not None and condition is not None:
            result = self._guard(b, result, condition, unpadded)
        casts = b.casts
        result = arrange.restore(b, result, axes(heads.heads, rows, outer), expr.space["output"].axes)
        result = b.cast(result, expr.output_dtype)
        b.finish(result)
        dead.extend(expr.interior)
        return self._complete(b, record, node, fused, width - product(inner), decision, casts)

    def _complete(
        self, b: Builder, record: SiteRecord, node: str, fused: FusedNode, padded: int, decision: Decision, casts: int
    ) -> SiteRecord:
        low = all(o.dtype.is_low_precision for o in (self.expr.query, self.expr.key, self.expr.value))
        mask_bytes = 0
        for value in (fused.discard, fused.bias):
            if value is not None:
                kind = b.type_of(value)
                mask_bytes += kind.size * kind.dtype.itemsize if kind.is_static else 0
        return replace(
            record,
            status="fused",
            code="fused",
            reason=f"{len(record.obligations) + len(self.masking.obligations)} obligations proved",
            rule=decision.flash_rule if low else decision.cast_rule,
            node=node,
            layout=LAYOUTS[fused.layout],
            query=b.type_of(fused.query).dims,
            key=b.type_of(fused.key).dims,
            value=b.type_of(fused.value).dims,
            compute_dtype=self.compute.name,
            mask=self.masking.kind,
            row_guard=self.masking.guard,
            padded_head=padded,
            casts=b.casts,
            score_bytes_saved=self.expr.score_bytes,
            mask_bytes=mask_bytes,
            obligations=(*record.obligations, *self.masking.obligations),
        )

    # --- masks

    def _groups(self) -> list[Axis]:
        return [self.heads.batch, self.heads.heads, self.expr.axis("rows"), self.expr.axis("columns")]

    def _spread(self, b: Builder, value: str, dims: list[int]) -> str:
        """A mask or bias repeated to those sizes; to one that is not known before run time none can be."""
        if any(wanted == UNKNOWN != own for own, wanted in zip(b.type_of(value).dims, dims, strict=True)):
            raise MatchFailure(
                "facts.dynamic_mask", self.expr.anchor.name, f"a mask of sizes {dims}", str(b.type_of(value))
            )
        return b.broadcast(value, dims)

    def _mask_dims(self, batch: int, heads: int) -> list[int]:
        return [batch, heads, product(self.expr.axis("rows")), product(self.expr.axis("columns"))]

    def _term(self, b: Builder, term: Discard | Bias) -> str:
        view = self.expr.space[term.view]
        return arrange.arrange(b, self.expr.space, term.value, view.source, self._groups(), full=[False] * 4)

    def _discard(self, b: Builder) -> tuple[str | None, str | None]:
        """The mask for the node, and the same before its rows were written out (for the guard)."""
        masking = self.masking
        parts: list[str] = []
        if masking.constant_discard is not None:
            parts.append(b.tensor(masking.constant_discard, dtypes.BOOL))
        for term in masking.discards:
            value = self._term(b, term)
            if term.threshold is not None:
                limit = b.tensor(np.array(term.threshold), b.type_of(value).dtype)
                op = "Less" if term.when else "Greater"
                value = b.op(op, value, limit)
            elif not term.when:
                value = b.op("LogicalNot", value)
            parts.append(value)
        if not parts:
            return None, None
        whole = parts[0]
        for part in parts[1:]:
            whole = b.op("LogicalOr", whole, part)
        batch, heads, *_ = b.type_of(whole).dims
        # FlashAttentionScore takes a mask that is shared over the batch only if it is shared over the heads too.
        batch = batch if heads == 1 else product(self.heads.batch)
        return self._spread(b, whole, self._mask_dims(batch, heads)), whole

    def _bias(self, b: Builder, factor: float) -> str | None:
        masking = self.masking
        parts: list[str] = []
        if masking.constant_bias is not None:
            parts.append(b.tensor(masking.constant_bias * factor, self.compute))
        for term in masking.biases:
            value = self._term(b, term)
            parts.append(b.cast(b.scaled(value, term.factor * factor), self.compute))
        if not parts:
            return None
        whole = parts[0]
        for part in parts[1:]:
            whole = b.op("Add", whole, part)
        return self._spread(b, whole, self._mask_dims(b.type_of(whole).dims[0], self.heads.count))

    def _guard(self, b: Builder, result: str, condition: str, value: str) -> str:
        """Put what the formula gives for rows without any key in place of what the kernel gives."""
        kind = b.type_of(result)
        empty = self._per_row(b, condition if self.masking.shifted else b.reduce_last("ReduceAll", condition, -1))
        if self.masking.guard == "mean":
            # In float32: a float16 sum of long sequences would lose what the formula's float32 softmax keeps.
            mean = b.cast(b.reduce_last("ReduceMean", b.cast(value, dtypes.FLOAT32), -2), kind.dtype)
            mean = self._repeat_groups(b, mean)
            other = b.broadcast(mean, kind.dims)
        else:
            other = b.tensor(np.array(np.nan if self.masking.guard == "nan" else 0.0), kind.dtype)
        return b.op("Select", empty, other, result)

    def _per_row(self, b: Builder, condition: str) -> str:
        """[batch, heads, rows, 1] beside query or the result: without the head axis where these have none."""
        if self.heads.known:
            return condition
        return b.reshape(condition, [d for i, d in enumerate(b.type_of(condition).dims) if i != 1])

    def _shifted_bias(self, b: Builder, query: str) -> tuple[str, str, str | None]:
        """Query with zeros where the bias absorbs the scores, the shifted bias, and the rows to be guarded.

        These are the rows of −inf alone and those with a +inf or NaN.
        """
        first, *others = self.masking.shifted
        whole = self._shifted_term(b, first, None)
        for summand in others:
            whole = self._shifted_term(b, summand, whole)
        largest = b.reduce_last("ReduceMax", whole, -1)
        shifted = b.cast(b.op("Sub", whole, largest), self.compute)
        bias = self._spread(b, shifted, self._mask_dims(b.type_of(shifted).dims[0], self.heads.count))
        limit = b.tensor(np.array(-ABSORBING), dtypes.FLOAT32)
        magnitude = b.op("Abs", largest)
        absorbed = self._per_row(b, b.op("Greater", magnitude, limit))
        zero = b.tensor(np.array(0.0), self.compute)
        query = b.op("Select", absorbed, zero, query)
        if self.masking.guard is None:
            return query, bias, None
        infinite = b.tensor(np.array(np.inf), dtypes.FLOAT32)
        finite = b.op("Less", magnitude, infinite)  # also of NaN it is False: +inf and −inf may have met
        return query, bias, b.op("LogicalNot", finite)

    def _in_range(self, b: Builder, value: str, dtype: DType) -> str:
        """A float32 value as `dtype` holds it: infinite where the formula's is."""
        return b.cast(b.cast(value, dtype), dtypes.FLOAT32)

    def _shifted_term(self, b: Builder, summand: Summand, before: str | None) -> str:
        """The sum of the terms up to and with this one, in float32; `before` is that of those before it."""
        term = summand.term
        view = self.expr.space[term.view]
        value = arrange.arrange(b, self.expr.space, term.value, view.source, self._groups(), full=[False] * 4)
        if isinstance(term, Bias):
            scaled = b.scaled(b.cast(value, dtypes.FLOAT32), term.factor)
            scaled = scaled if term.factor == 1.0 else self._in_range(b, scaled, summand.dtype)
            return scaled if before is None else self._in_range(b, b.op("Add", before, scaled), summand.dtype)
        fill = b.tensor(np.array(term.fill), dtypes.FLOAT32)
        other = b.tensor(np.array(0.0), dtypes.FLOAT32) if before is None else before
        branches = (fill, other) if term.when else (other, fill)
        return b.op("Select", value, *branches)

    def _repeat_groups(self, b: Builder, mean: str) -> str:
        """[B, kv heads, 1, D] → [B, heads, 1, D], each key head in its group's places."""
        if self.heads.count == self.heads.kv_count:
            return mean
        batch, kv, one, width = b.type_of(mean).dims
        group = self.heads.count // kv
        mean = b.broadcast(b.reshape(mean, (batch, kv, 1, one * width)), (batch, kv, group, width))
        return b.reshape(mean, (batch, self.heads.count, one, width))
