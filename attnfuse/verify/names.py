"""What inputs and weights are called without the graph they belong to. Imports nothing."""

from __future__ import annotations


def leaf_name(value: str) -> str:
    """`sample` of `12_11_construct_144:sample`: two exports of one model differ in what stands before the colon."""
    return value.partition(":")[2] or value
