"""Site by site: what mindone placed in a graph traced as on Ascend, against what attnfuse makes of the formula.

Scale: mindone hands the node 1/√D, worked out in Python and kept as a float32. The formula holds two factors, each
√(1/√D) in Python and kept as a float32; their float64 product is what attnfuse writes, again as a float32. So the two
may differ by the rounding of the factors: at most one unit in the last place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model, Node
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context
from attnfuse.policy import CastName, Policy, Rule
from attnfuse.targets import Target
from attnfuse.verify.graph.fused_nodes import fused_nodes, read, sizes
from attnfuse_passes.fuse import Fuse

#: Attention that mindone computes by a formula of its own, outside class Attention: no setting reaches it there.
NOT_MINDONES = {"hunyuandit": {"time_extra_emb.pooler"}}


@dataclass(frozen=True, slots=True)
class Placed:
    """What goes into a fused node: [B·N, S, D] of each operand, before any padding of D, and how."""

    query: tuple[int, int, int]
    key: tuple[int, int, int]
    value: tuple[int, int, int]
    compute: str
    restored: str
    scale: float


def policy_of(setting: str) -> Policy:
    """The policy that says what the user's calls said."""
    if setting == "off":
        return Policy((Rule("*", "off", flash=False),))
    cast: CastName = "none" if setting == "none" else "bfloat16" if setting == "bfloat16" else "float16"
    return Policy((Rule("*", setting, force_cast_dtype=cast),))


def mindones(data: bytes) -> dict[str, Placed | None]:
    """By module, what mindone placed, in whatever layout we leave it; None where it kept the formula."""
    found: dict[str, Placed | None] = {}
    source = Model(codec.parse(data, "a trace"))
    records, written = _fused(data, Policy())
    for record in records:
        if record.form == "formula":
            found[record.module] = None
            continue
        assert record.code in ("fused.carried_over", "fused.laid_out"), record
        placed = _placed(source, _source_node(source, record), record, 0)
        if record.code == "fused.laid_out":
            assert _placed(written, _written_node(written, record), record, record.head_dim_padding) == placed, record
        found[record.module] = placed
    return found


def ours(data: bytes, setting: str) -> dict[str, tuple[Placed | None, SiteRecord]]:
    """By module, what attnfuse places in the formula's graph under the setting's policy; None where it keeps it."""
    found: dict[str, tuple[Placed | None, SiteRecord]] = {}
    records, written = _fused(data, policy_of(setting))
    for record in records:
        assert record.status in ("fused", "kept"), record
        placed = None
        if record.status == "fused":
            placed = _placed(written, _written_node(written, record), record, record.head_dim_padding)
        found[record.module] = (placed, record)
    return found


def differences(case: str, ascend: bytes, formula: bytes, setting: str) -> list[str]:
    """Every difference that is not one of the two that are allowed: padding (told in the report), and NOT_MINDONES."""
    theirs, mine = mindones(ascend), ours(formula, setting)
    beyond = NOT_MINDONES.get(case, set())
    told = [f"{module} is in one graph only" for module in sorted(theirs.keys() ^ mine.keys())]
    for module in sorted((theirs.keys() & mine.keys()) - beyond):
        one, (other, record) = theirs[module], mine[module]
        if one is None or other is None:
            if one is not other:
                told.append(
                    f"{module}: mindone {'keeps' if one is None else 'fuses'}, ours {record.status} {record.code}"
                )
            continue
        for name in ("query", "key", "value", "compute", "restored"):
            if getattr(one, name) != getattr(other, name):
                told.append(f"{module}: {name} is {getattr(one, name)} there and {getattr(other, name)} here")
        ulps = abs(one.scale - other.scale) / float(np.spacing(np.float32(one.scale)))
        if ulps > 1:
            told.append(f"{module}: scale is {one.scale!r} there and {other.scale!r} here, {ulps:.1f} units apart")
        wanted = -one.query[2] % 16
        if record.head_dim_padding != wanted:
            told.append(f"{module}: {record.head_dim_padding} zeros are told, {wanted} are needed")
    return told


def _fused(data: bytes, policy: Policy) -> tuple[list[SiteRecord], Model]:
    """The sites of a trace, and the graph that was made of it."""
    context = Context("model", "model", policy, Target("mindspore", "ascend910b"))
    model = Model(codec.parse(data, "a trace"))
    Fuse().run(model, context)
    return context.sites, Model(model.proto)


def _source_node(source: Model, record: SiteRecord) -> Node:
    (node,) = (node for node in fused_nodes(source) if node.name == record.anchor)
    return node


def _written_node(written: Model, record: SiteRecord) -> Node:
    name = re.compile(rf"{re.escape(record.graph)}:attnfuse_{re.escape(record.module)}_\d+_FlashAttentionScore:.*")
    (node,) = (node for node in fused_nodes(written) if name.fullmatch(node.name))
    return node


def _placed(model: Model, node: Node, record: SiteRecord, padded: int) -> Placed:
    """The node as the graph has it, its heads apart and without the `padded` zeros of each."""
    attention = read(model, node)
    query, key, value = (model.type_of(name) for name in (attention.query, attention.key, attention.value))
    assert query is not None
    assert key is not None
    assert value is not None
    of = sizes(attention, query, key, value)
    compute = query.dtype.name
    assert (record.compute_dtype, key.dtype, value.dtype) == (compute, query.dtype, query.dtype)
    assert record.output_dtype is not None
    assert record.scale is not None
    scale = float(np.float32(record.scale))
    # The operator adds a bias before it scales: query has been scaled where there is one.
    assert float(np.float32(attention.scale)) == (scale if attention.bias is None else 1)
    return Placed(
        (of.batch * of.heads, of.query_length, of.head_dim - padded),
        (of.batch * of.kv_heads, of.key_length, of.head_dim - padded),
        (of.batch * of.kv_heads, of.key_length, of.value_head_dim - padded),
        compute,
        record.output_dtype,
        scale,
    )
