"""Records of sites that stay as they are, and the text lines of a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from attnfuse.api import Miss, Model, Node, NotALiteralError, SiteRecord, TensorType, short_name


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


def region_lines(model: Model, nodes: Sequence[Node]) -> tuple[str, ...]:
    """The nodes as text in graph order: name = op(inputs) : type."""
    lines = []
    for node in sorted(nodes, key=lambda n: n.index):
        arguments = ", ".join(_argument(model, name) for name in node.inputs)
        kind = model.type_of(node.name)
        lines.append(f"{short_name(node.name)} = {node.op}({arguments}){'' if kind is None else f' : {kind}'}")
    return tuple(lines)


def _argument(model: Model, name: str) -> str:
    try:
        literal = model.literal(name)
    except NotALiteralError:
        return short_name(name)
    if hasattr(literal, "shape"):
        kind = model.type_of(name)
        return f"const {kind}" if isinstance(kind, TensorType) else "const"
    return repr(literal)
