"""Families of pipelines, and what they are based on."""

from __future__ import annotations

from attnfuse.tracing.specs import FAMILIES


def test_a_family_calls_what_is_not_its_own_as_its_base_does() -> None:
    for family in FAMILIES:
        assert len(set(family.lineage)) == len(family.lineage) if family.base else family.lineage == (family,)
        assert family.base is None or family.base in FAMILIES
        assert family.is_of(*family.lineage[-1:])
