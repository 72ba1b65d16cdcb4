"""What a certificate (verification.json) tells of errors, for whoever shows a report.

Read as plain JSON values: a report is shown where nothing was verified, and where verification is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attnfuse.errors import SourceError

SCHEMA_PREFIX = "attnfuse.verification/"


@dataclass(frozen=True, slots=True)
class Error:
    """A relative error against float64, and what it may reach."""

    fused: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class ComponentFigures:
    """What was verified of one component: its outputs' largest error and those of its sites, by module."""

    level: str
    passed: bool
    not_verified: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    outputs: tuple[Error, ...] = ()
    sites: Mapping[str, Error] = field(default_factory=dict)

    @property
    def worst(self) -> Error | None:
        """The output that comes nearest to its tolerance."""
        return max(self.outputs, key=_share, default=None)


def figures_of(document: Mapping[str, Any] | None) -> dict[str, ComponentFigures]:
    """By component, of a certificate; nothing where there is none.

    Raises SourceError where the document is no certificate.
    """
    if document is None:
        return {}
    try:
        if not document["schema"].startswith(SCHEMA_PREFIX):
            raise SourceError(f"a verification of the schema {document['schema']!r} is not one of attnfuse.")
        return {str(entry["name"]): _component(entry) for entry in document["components"]}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SourceError("the verification beside the report is damaged; verify again.") from None


def _component(entry: Mapping[str, Any]) -> ComponentFigures:
    sites: dict[str, Error] = {}
    for site in entry["sites"]:
        found = _error(site["figures"])
        module = str(site["module"])
        sites[module] = max(sites.get(module, found), found, key=_share)
    return ComponentFigures(
        level=str(entry["level"]),
        passed=entry["passed"] is True,
        not_verified=tuple(map(str, entry.get("not_verified", ()))),
        findings=tuple(map(str, entry["findings"])),
        outputs=tuple(_error(figures) for figures in entry["outputs"]),
        sites=sites,
    )


def _error(figures: Mapping[str, Any]) -> Error:
    """A certificate has numbers that are none as text."""
    return Error(float(figures["fused"]), float(figures["tolerance"]))


def _share(error: Error) -> float:
    return error.fused / error.tolerance if error.tolerance else error.fused
