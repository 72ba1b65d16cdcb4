"""Writing what stands for an attention: a file for each fused operator, and one for the formula.

FUSED_OPERATORS are found: each file of this folder that has an OPERATOR.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from attnfuse_passes.attention.lower.fused import FusedOperator


def _found() -> dict[str, FusedOperator]:
    modules = (import_module(f"{__name__}.{name}") for name in sorted(found.name for found in iter_modules(__path__)))
    operators = (getattr(module, "OPERATOR", None) for module in modules)
    return {operator.form: operator for operator in operators if isinstance(operator, FusedOperator)}


FUSED_OPERATORS = _found()
"""By name, in alphabetical order."""
