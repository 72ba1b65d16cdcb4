"""Site by site: what mindone placed in a graph traced as on Ascend, against what attnfuse makes of the formula.

Scale: mindone hands the node 1/√D, worked out in Python and kept as a float32. The formula holds two factors, each
√(1/√D) in Python and kept as a float32; their float64 product is what attnfuse writes, again as a float32. So the two
may differ by the rounding of the factors: at most one unit in the last place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context
from attnfuse.policy import CastName, Policy, Rule
from attnfuse.targets import Target
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
    """By module, what mindone placed; None where it kept the formula."""
    found: dict[str, Placed | None] = {}
    for record in _records(data, Policy()):
        assert record.form == "formula" or record.code == "fused.carried_over", record
        found[record.module] = None if record.form == "formula" else _placed(record, 0)
    return found


def ours(data: bytes, setting: str) -> dict[str, tuple[Placed | None, SiteRecord]]:
    """By module, what attnfuse places in the formula's graph under the setting's policy; None where it keeps it."""
    found: dict[str, tuple[Placed | None, SiteRecord]] = {}
    for record in _records(data, policy_of(setting)):
        assert record.status in ("fused", "kept"), record
        found[record.module] = (_placed(record, record.head_dim_padding) if record.status == "fused" else None, record)
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


def _records(data: bytes, policy: Policy) -> list[SiteRecord]:
    context = Context("model", "model", policy, Target("mindspore", "ascend910b"))
    Fuse().run(Model(codec.parse(data, "a trace")), context)
    return context.sites


def _placed(record: SiteRecord, padded: int) -> Placed:
    assert record.compute_dtype is not None
    assert record.output_dtype is not None
    assert record.scale is not None

    def sizes(dims: tuple[int, ...] | None) -> tuple[int, int, int]:
        assert dims is not None
        return math.prod(dims[:-2]), dims[-2], dims[-1] - padded

    scale = float(np.float32(record.scale))
    operands = (sizes(record.query_shape), sizes(record.key_shape), sizes(record.value_shape))
    return Placed(*operands, record.compute_dtype, record.output_dtype, scale)
