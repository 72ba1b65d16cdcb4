"""Operators that MindSpore Lite's converter, or the graph engine's adapters behind it, take from a MindIR file.

None of this was run on a device or through the converter: each row names the source file it was read in. A graph with
an operator outside the table stops at the converter.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.targets.limits import Target


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: who takes it, the source file (within its repository) that says so, and what limits it."""

    name: str
    accepted_by: str
    source: str
    note: str = ""


_ROWS = (
    Operator("Add", "GE adapter", "mindspore: op_declare/elewise_calculation_ops_declare.cc"),
    Operator("BatchMatMul", "GE adapter", "mindspore: op_declare/matrix_calculation_ops_declare.cc"),
    Operator("Mul", "GE adapter", "mindspore: op_declare/elewise_calculation_ops_declare.cc"),
)

OPERATORS: dict[str, Operator] = {row.name: row for row in _ROWS}


def accepts(target: Target, op: str) -> bool:
    """Whether the target's runtime takes the operator. MindSpore itself takes all of its own."""
    return target.runtime != "lite" or op in OPERATORS
