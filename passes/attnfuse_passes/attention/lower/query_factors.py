"""What query is multiplied by before it enters a fused node: factors known at run time only, and a scale's sign."""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import Builder, dtypes
from attnfuse_passes.attention.axes import product
from attnfuse_passes.attention.lower.operands import Arrangement, arrange
from attnfuse_passes.attention.normal_form import Attention, Layout, RunTimeFactor


@dataclass(frozen=True, slots=True)
class QueryFactors:
    """The factors of an attention whose query is given in a layout, its heads apart (BSND for BSH)."""

    attention: Attention
    layout: Layout

    @property
    def is_open(self) -> bool:
        """Whether more than one size of a factor is not known before run time."""
        return any(self._arrangement(factor).is_open for factor in self.attention.query_factors)

    @property
    def is_per_head(self) -> bool:
        """Whether a factor may differ from head to head."""
        return any(product(factor.source) != 1 for factor in self.attention.query_factors)

    def write(self, b: Builder, query: str) -> str:
        """The query times the factors, rounded once to its own type or left in a wider one."""
        for factor in self.attention.query_factors:
            value = self._beside(b, factor)
            if b.type_of(value).dtype != b.type_of(query).dtype:
                query, value = b.cast(query, dtypes.FLOAT32), b.cast(value, dtypes.FLOAT32)
            query = b.op("Div" if factor.divides else "Mul", query, value)
        return b.scaled(query, -1.0) if self.attention.negated else query

    def _arrangement(self, factor: RunTimeFactor) -> Arrangement:
        axes = self.attention.axes
        return arrange(factor.source, (axes.batch, axes.heads, (), ()), full=False)

    def _beside(self, b: Builder, factor: RunTimeFactor) -> str:
        """The factor in a shape that broadcasts to query."""
        if product(factor.source) == 1:
            return b.reshape(factor.value, (1, 1, 1))
        value = self._arrangement(factor).write(b, factor.value)
        batch, heads, *_ = b.type_of(value).dims
        if not self.attention.axes.heads_known:
            return b.reshape(value, (batch, 1, 1))
        return value if self.layout == "BNSD" else b.reshape(value, (batch, 1, heads, 1))
