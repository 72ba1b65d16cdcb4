"""A reporter: the report as a table for a merge request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Markdown:
    """A row for each component. `report` is what `report.json` holds."""

    name: ClassVar[str] = "markdown"
    file: ClassVar[str] = "report.md"
    summary: ClassVar[str] = "the report as a Markdown table"

    def render(self, report: Mapping[str, Any]) -> bytes:
        """The content of the file. The same report must give the same bytes."""
        lines = [f"# {report['runtime']} on {report['soc']}", "", "| component | sites | fused |", "|---|---|---|"]
        for component in report["components"]:
            totals = component["totals"]
            lines.append(f"| {component['name']} | {totals['sites']} | {totals['fused']} |")
        return ("\n".join(lines) + "\n").encode()
