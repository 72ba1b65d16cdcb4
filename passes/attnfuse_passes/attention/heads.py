"""Which batch indices are heads: read off the layouts the graph itself goes through."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse_passes.attention.axes import Axis, keys
from attnfuse_passes.attention.normal_form import AttentionAxes, Operand


def with_heads(axes: AttentionAxes, operands: Sequence[Operand], in_scores: int | None) -> AttentionAxes:
    """The axes of an attention of query, key and value, with its heads taken out of the batch axis.

    Evidence, best first: a value [batch, heads, query length, head size] that query passes through; scores of four axes
    (`in_scores` tells how many batch atoms precede the heads there); query's source keeping an index between its length
    and its head size (…, S, N, D). Otherwise there are no heads to be told from batch.
    """
    query, key, value = operands
    count = _from_query(axes, query)
    if count is None:
        count = in_scores
    if count is None:
        count = _from_source(axes, query)
    batch, heads = (axes.batch, ()) if count is None else (axes.batch[:count], axes.batch[count:])
    return AttentionAxes(
        batch=batch,
        heads=heads,
        kv_heads=_kv_heads(heads, key, value),
        query_length=axes.query_length,
        key_length=axes.key_length,
        head_dim=axes.head_dim,
        value_head_dim=axes.value_head_dim,
        heads_known=count is not None,
    )


def _from_query(axes: AttentionAxes, query: Operand) -> int | None:
    last, whole = keys(axes.query_length + axes.head_dim), keys(axes.batch)
    for _, layout in query.layouts:
        if len(layout) == 4 and keys(layout[2] + layout[3]) == last and keys(layout[0] + layout[1]) == whole:
            return len(layout[0])
    return None


def _from_source(axes: AttentionAxes, query: Operand) -> int | None:
    """[…, query length, heads, head size]: what stands between the last two in query's source."""
    order = list(keys(query.source))
    length, head_dim, whole = keys(axes.query_length), keys(axes.head_dim), keys(axes.batch)
    if not length or not head_dim or length[-1] not in order or head_dim[0] not in order:
        return None
    between = tuple(order[order.index(length[-1]) + 1 : order.index(head_dim[0])])
    if between and whole[len(whole) - len(between) :] == between:
        return len(whole) - len(between)
    return None


def _kv_heads(heads: Axis, key: Operand, value: Operand) -> Axis:
    """The leading head atoms that key and value depend on, if they lack exactly the rest.

    Query head h reads key head h // group only if the index that repeats is the innermost: a key that lacks an outer
    head atom has to be repeated in full.
    """

    def own(operand: Operand) -> int:
        present = set(keys(operand.source))
        count = len(heads)
        while count and heads[count - 1].key not in present:
            count -= 1
        return count if all(atom.key in present for atom in heads[:count]) else len(heads)

    return heads[: max(own(key), own(value))]
