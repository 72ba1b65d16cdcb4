"""int64 arithmetic in int32, where the SoC has a kernel for the one alone and the range is proved."""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import Builder, RewriteContext, dtypes
from attnfuse_passes.simplify.ranges import Ranges, of_type
from attnfuse_passes.simplify.rules import Simpler, simplifies


@dataclass(frozen=True, slots=True)
class InInt32:
    """The operator of int32, and back to int64."""

    op: str
    operands: tuple[str, ...]

    def write(self, build: Builder, value: str) -> str:
        operands = [build.cast(operand, dtypes.INT32) for operand in self.operands]
        return build.cast(build.op(self.op, *operands), dtypes.INT64)


@simplifies("Neg", "Abs", "Add", "Sub", "Mul", "Minimum", "Maximum")
def in_int32(at: RewriteContext) -> Simpler | None:
    """Where int32 holds every operand and the result, the same numbers come out."""
    int32, ranges = of_type(dtypes.INT32), Ranges(at)
    if at.out.dtype is not dtypes.INT64 or at.missing_kernel() is None or at.missing_kernel(_IN_INT32) is not None:
        return None
    values = [at.node.name, *at.node.inputs]
    for value in values:
        found = ranges.of(value)
        if int32 is None or found is None or not found.within(int32) or at.model.type_of(value) is None:
            return None
    operands = tuple(at.node.inputs)
    return Simpler("int64 arithmetic in int32", operands[0], (InInt32(at.node.op, operands),), operands[1:])


_IN_INT32 = {"int64": "int32"}
