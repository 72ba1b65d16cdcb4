"""Which batch indices are heads: read off the layouts the graph itself goes through."""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse_passes.attention.axes import Axis, keys, product
from attnfuse_passes.attention.normal_form import AttentionExpr, Operand


@dataclass(frozen=True, slots=True)
class Heads:
    """Batch and head atoms. `known` is False where no layout shows heads: then all are batch, and there is one head.

    `kv` are the head atoms that key and value have of their own; the rest repeat them in groups.
    """

    batch: Axis
    heads: Axis
    kv: Axis
    known: bool

    @property
    def count(self) -> int:
        return product(self.heads)

    @property
    def kv_count(self) -> int:
        return product(self.kv)


def split_heads(expr: AttentionExpr) -> Heads:
    """Batch and heads of an attention.

    Evidence, best first: a value [batch, heads, rows, inner] that query passes through; scores of four axes; query's
    source keeping an index between rows and inner (…, S, N, D). Otherwise there are no heads to be told from batch.
    """
    batch = expr.batch
    count = _from_query(expr)
    if count is None:
        count = expr.heads_hint
    if count is None:
        count = _from_source(expr)
    if count is None:
        return Heads(batch, (), (), known=False)
    heads = batch[count:]
    return Heads(batch[:count], heads, _kv_heads(expr, heads), known=True)


def _from_query(expr: AttentionExpr) -> int | None:
    rows, inner = keys(expr.axis("rows")), keys(expr.axis("inner"))
    whole = keys(expr.batch)
    for _, name in expr.query.layouts:
        axes = expr.space[name].axes
        if len(axes) == 4 and keys(axes[2] + axes[3]) == rows + inner and keys(axes[0] + axes[1]) == whole:
            return len(axes[0])
    return None


def _from_source(expr: AttentionExpr) -> int | None:
    """[…, rows, heads, inner]: what stands between rows and inner in query's source."""
    order = list(keys(expr.space[expr.query.view].source))
    rows, inner, whole = keys(expr.axis("rows")), keys(expr.axis("inner")), keys(expr.batch)
    if not rows or not inner or rows[-1] not in order or inner[0] not in order:
        return None
    between = tuple(order[order.index(rows[-1]) + 1 : order.index(inner[0])])
    if between and whole[len(whole) - len(between) :] == between:
        return len(whole) - len(between)
    return None


def _kv_heads(expr: AttentionExpr, heads: Axis) -> Axis:
    """The leading head atoms that key and value depend on, if they lack exactly the rest.

    Query head h reads key head h // group only if the index that repeats is the innermost: a key that lacks an outer
    head atom has to be repeated in full.
    """

    def own(operand: Operand) -> int:
        present = set(keys(expr.space[operand.view].source))
        count = len(heads)
        while count and heads[count - 1].key not in present:
            count -= 1
        return count if all(atom.key in present for atom in heads[:count]) else len(heads)

    return heads[: max(own(expr.key), own(expr.value))]
