"""Runs the passes over the corpus and renders what became of each site as a table, which the tests hold on to.

`python -m tools.corpus.census` rewrites the table after a change that is meant; review its diff like code.
Imports no MindSpore.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnfuse.api import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context, run
from attnfuse.policy import Policy
from attnfuse.targets import RUNTIMES, Target
from attnfuse_passes.fuse import Fuse
from tools.corpus import store

TABLE = Path(__file__).resolve().parents[2] / "tests" / "golden" / "corpus.txt"
SOC = "ascend910b"
_HEADER = f"""\
# Every attention site of tests/corpus under the default policy on {SOC}, as tools/corpus/census.py writes it.
# Per graph: its module, then for each runtime "status code", and where it is fused
#   [q] [k] layout, scale, mask (with ! and what stands for fully masked rows), +n zeros per head, n casts
"""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A graph before and after the passes, and what became of each site, in file order."""

    before: Model
    after: Model
    changed: bool
    sites: tuple[SiteRecord, ...]


def rewrite(data: bytes, runtime: str, policy: Policy | None = None) -> Rewritten:
    """Run the built-in passes over one graph for `runtime` ("lite" or "mindspore")."""
    before, after = (Model(codec.parse(data, "a graph of the corpus")) for _ in range(2))
    context = Context("corpus", "corpus", policy or Policy(), Target(runtime, SOC))
    changed = run(after, context, [Fuse()])
    return Rewritten(before, after, changed, tuple(context.sites))


def section(name: str, by_runtime: Mapping[str, Sequence[SiteRecord]]) -> str:
    """The table's lines for one graph."""
    lines = [name]
    for records in zip(*(by_runtime[runtime] for runtime in RUNTIMES), strict=True):
        lines.append(f"  {records[0].module}")
        told = [_site(record) for record in records]
        if len(set(told)) == 1:
            lines.append(f"    both       {told[0]}")
        else:
            lines += [f"    {runtime:9}  {text}" for runtime, text in zip(RUNTIMES, told, strict=True)]
    return "\n".join(lines) + "\n"


def stored() -> dict[str, str]:
    """The sections of the stored table, by graph."""
    header, *sections = TABLE.read_text(encoding="utf-8").split("\n\n")
    assert header + "\n" == _HEADER
    return {part.split("\n", 1)[0]: part.rstrip("\n") + "\n" for part in sections}


def render() -> str:
    """The whole table, computed again."""
    parts = [_HEADER]
    for name in store.names():
        data = store.read(name)
        parts.append(section(name, {runtime: rewrite(data, runtime).sites for runtime in RUNTIMES}))
    return "\n".join(parts)


def _site(record: SiteRecord) -> str:
    text = f"{record.status} {record.code}"
    if record.status != "fused":
        return text
    mask = record.mask or "-"
    if record.fully_masked_rows is not None:
        mask += f"!{record.fully_masked_rows}"
    shapes = f"{_dims(record.query_shape)} {_dims(record.key_shape)} {record.layout or '-'}"
    scale = "-" if record.scale is None else f"{record.scale:.9g}"
    return f"{text}  {shapes}  {scale}  {mask}  +{record.head_dim_padding}  {record.casts} casts"


def _dims(dims: tuple[int, ...] | None) -> str:
    return "-" if dims is None else "x".join("?" if dim < 0 else str(dim) for dim in dims)


if __name__ == "__main__":
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(render(), encoding="utf-8")
