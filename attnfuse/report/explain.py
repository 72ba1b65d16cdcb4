"""One site told in full, as text: the region, the identities used, what was proved, the decision, the other forms,
or the miss."""

from __future__ import annotations

from collections.abc import Iterator

from attnfuse.codes import CODES
from attnfuse.decisions import NotTaken, SiteRecord, Stage
from attnfuse.ir.graph import short_name


def explain(site: str, record: SiteRecord) -> str:
    """The text of one site, ending in a newline; `site` is its id in the report."""
    return "\n".join(_lines(site, record)) + "\n"


def summary(site: str, record: SiteRecord) -> str:
    """One line of a site: its id, status and code."""
    return f"{record.status:<13} {record.code:<24} {site}"


def _lines(site: str, record: SiteRecord) -> Iterator[str]:
    code = CODES.get(record.code)
    yield f"site      {site}"
    yield f"status    {record.status}: {record.code}"
    if code is not None:
        yield f"          {code.meaning}"
    if record.reason:
        yield f"          {record.reason}"
    yield f"rule      {record.rule or 'none decided it'}"
    yield from _form(record)
    yield from _section("region", record.region)
    yield from _section("peeled", (f"{p.detail}: {p.identity}  at {short_name(p.at)}" for p in record.peels))
    yield from _section("proved", (f"{o.kind}: {o.evidence}" for o in record.obligations))
    yield from _section(
        "not taken", (f"{n.form}: {n.reason}{f' ({n.code})' if n.code else ''}" for n in record.not_taken)
    )
    yield from _section("warnings", record.warnings)
    if record.miss is not None:
        yield ""
        yield f"stopped   at stage {_stage(record.miss.code)}, at {short_name(record.miss.at)}"
        yield f"expected  {record.miss.expected}"
        yield f"found     {record.miss.found}"
        if code is not None and code.hint:
            yield f"to match  {code.hint}"


def _not_taken(other: NotTaken) -> str:
    return f"{other.form}: {other.reason}" + (f" ({other.code})" if other.code else "")


def _form(record: SiteRecord) -> Iterator[str]:
    if record.query is None:
        return
    yield f"query     {_shape(record.query)} {record.dtype}"
    yield f"key       {_shape(record.key)}"
    yield f"value     {_shape(record.value)}"
    if record.scale is not None:
        factors = " · ".join(f"{factor:.17g}" for factor in record.scale_factors)
        yield f"scale     {record.scale:.17g}{f' = {factors}' if len(record.scale_factors) > 1 else ''}"
    yield f"mask      {record.mask or 'none'}{f', fully masked rows: {record.row_guard}' if record.row_guard else ''}"
    if record.node is not None:
        layout = "" if record.layout is None else f" in {record.layout}"
        types = f"computed in {record.compute_dtype}, given back in {record.restored_dtype}"
        yield f"node      {record.node}{layout}, {types}"
        yield f"cost      {record.casts} casts, {record.padded_head} zeros per head, {record.mask_bytes} bytes of mask"
        yield f"saved     {record.score_bytes_saved} bytes of scores and weights"


def _section(title: str, lines: Iterator[str] | tuple[str, ...]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield title
        yield from (f"  {line}" for line in found)


def _stage(code: str) -> str:
    stage: Stage | None = CODES[code].stage if code in CODES else None
    return "unknown" if stage is None else stage.name.lower()


def _shape(dims: tuple[int, ...] | None) -> str:
    return "?" if dims is None else f"[{', '.join('?' if d < 0 else str(d) for d in dims)}]"
