"""Which weight each parameter of a traced graph has. Both sides of the process border ask; imports no protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnfuse.errors import TraceError
from attnfuse.tracing.contract import ComponentPlan, StoredWeight


def weights_of(graph: Any, sources: Mapping[str, StoredWeight], plan: ComponentPlan) -> tuple[StoredWeight, ...]:
    """The weights of a GraphProto's parameters, in its order. Raises TraceError where one has none."""
    names = [parameter.name.partition(":")[2] for parameter in graph.parameter]  # without the graph's name
    missing = [name for name in names if name not in sources]
    if missing:
        more = f" (nor have {len(missing) - 1} more of {len(names)})" if len(missing) > 1 else ""
        raise TraceError(f"component {plan.name}: parameter {missing[0]} has no weight in {plan.weights_in}{more}.")
    return tuple(sources[name] for name in names)
