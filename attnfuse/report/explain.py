"""One site in full, as text: the region, the identities used, what was proved, the decision, the other forms, or the
failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

from attnfuse.codes import CODES
from attnfuse.decisions import ASSUMPTION, DecisionStage, NotTaken, SiteRecord
from attnfuse.ir.graph import short_name
from attnfuse.names import counted


def explain(record: SiteRecord) -> str:
    """The text of one site, ending in a newline."""
    return "\n".join(_lines(record)) + "\n"


def summary(record: SiteRecord) -> str:
    """One line of a site: its id, status and code."""
    return f"{record.status:<13} {record.code:<24} {record.id}"


def _lines(record: SiteRecord) -> Iterator[str]:
    code = CODES.get(record.code)
    yield f"site      {record.id}"
    yield f"status    {record.status}: {record.code}"
    if code is not None:
        yield f"          {code.meaning}"
    if record.reason:
        yield f"          {record.reason}"
    yield f"rule      {record.rule or _no_rule(record)}"
    yield from _form(record)
    yield from _section("region", record.region)
    yield from _section("identities", (f"{i.operand}: {i.identity}  at {short_name(i.at)}" for i in record.identities))
    proved = (o for o in record.obligations if o.kind != ASSUMPTION)
    yield from _section("proved", (f"{o.kind}: {o.evidence}" for o in proved))
    yield from _section("assumed", (o.evidence for o in record.obligations if o.kind == ASSUMPTION))
    yield from _section("not taken", map(_not_taken, record.not_taken))
    yield from _section("warnings", record.warnings)
    if (failure := record.failure) is not None:
        yield ""
        yield f"stopped   at stage {_stage(failure.code)}, at {short_name(failure.at)}"
        yield f"expected  {failure.expected}"
        yield f"found     {failure.found}"
    if code is not None and code.hint:
        if record.failure is None:
            yield ""
        yield f"to match  {code.hint}"


def _no_rule(record: SiteRecord) -> str:
    return "none: the target decides here" if record.status == "kept" else "none: no policy was asked here"


def _not_taken(other: NotTaken) -> str:
    return f"{other.form}: {other.reason}" + (f" ({other.code})" if other.code else "")


def _form(record: SiteRecord) -> Iterator[str]:
    if record.query_shape is None:
        return
    yield f"query     {_shape(record.query_shape)} {record.facts.dtype}"
    yield f"key       {_shape(record.key_shape)}"
    yield f"value     {_shape(record.value_shape)}"
    if record.scale is not None:
        factors = " · ".join(f"{factor:.17g}" for factor in record.scale_factors)
        told = f" = {factors}" if len(record.scale_factors) > 1 else ""
        if prod(record.scale_factors) < 0:
            told = f" of {factors}: query is negated"
        yield f"scale     {record.scale:.17g}{told}"
    rows = f", fully masked rows: {record.fully_masked_rows}" if record.fully_masked_rows else ""
    yield f"mask      {record.mask or 'none'}{rows}"
    if record.operator is not None:
        layout = "" if record.layout is None else f" in {record.layout}"
        types = f"computed in {record.compute_dtype}, result in {record.output_dtype}"
        yield f"operator  {record.operator}{layout}, {types}"
        if record.layout_reason:
            yield f"layout    {record.layout_reason}"
        if record.precision is not None:
            yield f"precision {record.precision}: {record.precision_reason}"
        weights = f" ({', '.join(record.padded_by_weights)}: in weights)" if record.padded_by_weights else ""
        padding = f"{record.head_dim_padding} zeros per head{weights}"
        yield f"cost      {counted(record.casts, 'cast')}, {padding}, {record.mask_bytes} bytes of mask"
        yield f"saved     {record.score_bytes_saved} bytes of scores and weights"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield title
        yield from (f"  {line}" for line in found)


def _stage(code: str) -> str:
    stage: DecisionStage | None = CODES[code].stage if code in CODES else None
    return "unknown" if stage is None else stage.name.lower()


def _shape(dims: tuple[int, ...] | None) -> str:
    return "?" if dims is None else f"[{', '.join('?' if d < 0 else str(d) for d in dims)}]"
