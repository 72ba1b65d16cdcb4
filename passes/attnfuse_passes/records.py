"""Records of sites that stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from attnfuse.api import Miss, Node, SiteRecord, short_name


def kept(record: SiteRecord, code: str, reason: str, rule: str | None) -> SiteRecord:
    """A proved site that policy or target leaves as it is."""
    return replace(record, status="kept", code=code, reason=reason, rule=rule)


def missed(
    softmax: Node, module: str, miss: Miss, status: Literal["missed", "not_attention"], record: SiteRecord | None = None
) -> SiteRecord:
    """A site that could not be proved, or is no attention; `record` holds what had been proved before."""
    reason = f"expected {miss.expected}, found {miss.found} at {short_name(miss.at)}"
    known = record or SiteRecord(
        module=module,
        graph=softmax.graph.name,
        anchor=softmax.name,
        form="formula",
        status=status,
        code=miss.code,
        reason=reason,
    )
    return replace(known, status=status, code=miss.code, reason=reason, miss=miss)
