"""What models of published configurations cost before and after, by the rules of docs/cost.md, on each target.

    python -m tools.bench.real_models FOLDER [--model NAME] [--page docs/real-models.md]

FOLDER holds graphs without weights as `tools.corpus.worker` writes them (`real_sd3-float16.mindir`). Prints Markdown
tables; with --page they take the place of those in that page. An estimate: nothing is run on a device.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnfuse import pass_manager
from attnfuse.cost.compare import compare
from attnfuse.cost.records import Comparison
from attnfuse.ir.graph import Model
from attnfuse.ir.values import Values
from attnfuse.mindir import codec
from attnfuse.policy import Policy
from attnfuse.report.beside import beside
from attnfuse.report.model import BesideEntry
from attnfuse.targets import Target
from attnfuse.targets.composites import COMPOSITE_OPERATORS
from attnfuse.targets.nodes import deployment_refusals, missing_kernel

NAMES = {
    "real_unet_sdxl": "SDXL, UNet, 1024 px, batch 2",
    "real_vae_decode": "SD, VAE decoder, 512 px",
    "real_unet_sd15": "SD 1.5, UNet, 512 px, batch 2",
    "real_sd3": "SD3 medium, 1024 px, batch 2; 6 of 24 blocks",
    "real_flux": "Flux dev, 1024 px; 3 of 19 and 6 of 38 blocks",
    "real_pixart": "PixArt-Σ, 1024 px, batch 2; 7 of 28 blocks",
    "real_wan": "Wan 2.1 1.3B, 480 x 832, 81 frames; 5 of 30 blocks",
    "real_hunyuandit": "HunyuanDiT 1.1, 1024 px, batch 2; 8 of 40 blocks",
    "real_dit": "DiT-XL/2, 512 px, batch 2; 7 of 28 blocks",
    "real_clip_l": "CLIP ViT-L, 77 tokens",
    "real_clip_g": "CLIP bigG, 77 tokens; 8 of 32 layers",
    "real_t5": "T5-XXL, 512 tokens; 4 of 24 layers",
    "real_llama": "LLaMA 3 8B, 351 tokens; 4 of 32 layers",
}
"""The graphs, in the order of the tables."""

TARGETS = (
    Target("lite", "ascend910b"),
    Target("mindspore", "ascend910b"),
    Target("lite", "ascend910_93"),
    Target("lite", "ascend310p"),
)
_NOT_ON_310P = "bfloat16"
_BEGIN, _END = "<!-- tables -->", "<!-- end of tables -->"
_FUSED = ("PromptFlashAttention", "FlashAttentionScore")


@dataclass(frozen=True, slots=True)
class Row:
    """One graph for one target.

    `sites` are fused sites and all; `emitted` fused nodes and composites of the result by operator; `refused` what
    keeps the graph from being deployed, and `without_kernel` what no AI Core kernel computes, each with its number.
    """

    name: str
    dtype: str
    target: Target
    cost: Comparison
    sites: tuple[int, int]
    emitted: Counter[str]
    refused: Counter[str]
    without_kernel: Counter[str]
    beside: tuple[BesideEntry, ...]


def measure(graph: Path, target: Target) -> Row:
    """Rewrite the graph for the target, and ask all tables about it."""
    name, _, dtype = graph.stem.rpartition("-")
    data = codec.read_bytes(graph)
    source, model = (Model(codec.parse(data, graph.name)) for _ in range(2))
    context = pass_manager.Context(name, name, Policy(), target)
    pass_manager.run(model, context, pass_manager.discover())
    values = Values(model)
    emitted, refused, without = Counter[str](), Counter[str](), Counter[str]()
    for node in model.nodes:
        if node.op in _FUSED or node.op in COMPOSITE_OPERATORS:
            emitted[node.op] += 1
        for found in deployment_refusals(target, values, node):
            refused[f"{node.op}: {found.message(node.op, target.soc)}"] += 1
        kernel = missing_kernel(target, values, node) if target.runtime == "lite" else None
        if kernel is not None:
            without[f"{node.op}: {kernel.message(node.op, target.soc)}"] += 1
    fused = sum(site.status == "fused" for site in context.sites)
    return Row(
        name,
        dtype,
        target,
        compare(source, model, target.soc),
        (fused, len(context.sites)),
        emitted,
        refused,
        without,
        beside(model, context.sites),
    )


def tables(rows: Sequence[Row]) -> str:
    """All tables: figures of each target, then what is beside the fused nodes, launches and deployment."""
    lines: list[str] = []
    for target in TARGETS:
        chosen = [row for row in rows if row.target == target]
        lines += [f"## {_told(target)}", "", *_table(_FIGURES, chosen, _figures), ""]
    lines += ["## Fused nodes and composites", "", *_table(_LAUNCHES, rows, _launches), ""]
    left = [row for row in rows if row.beside]
    lines += ["## Left beside fused nodes", "", *_table(_BESIDE, left, _left), ""]
    bad = [row for row in rows if row.refused or row.without_kernel]
    lines += ["## Not deployable, or without a kernel", "", *_table(_DEPLOY, bad, _deploy)]
    return "\n".join(lines)


_FIGURES = ("model", "type", "moved, GB", "×", "kernels", "×", "peak, GB", "×", "at least, ms", "×")
_LAUNCHES = ("model", "type", "target", "sites fused", "emitted", "refused")
_BESIDE = ("model", "type", "target", "transposes, pads, slices, splits", "needed by")
_DEPLOY = ("model", "type", "target", "keeps it from being deployed", "without an AI Core kernel")


def _table(head: tuple[str, ...], rows: Sequence[Row], cells: Callable[[Row], tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells(row))} |"


def _told(target: Target) -> str:
    return f"`--runtime {target.runtime} --soc {target.soc}`"


def _figures(row: Row) -> tuple[str, ...]:
    before, after = row.cost.before, row.cost.after
    if before is None or after is None:
        return (NAMES[row.name], row.dtype, row.cost.not_estimated, *[""] * 7)
    pairs = (
        (before.bytes_moved / 1e9, after.bytes_moved / 1e9, ".2f"),
        (before.kernels, after.kernels, ",d"),
        (before.peak_bytes / 1e9, after.peak_bytes / 1e9, ".3f"),
        (before.seconds * 1e3, after.seconds * 1e3, ".2f"),
    )
    cells = (cell for a, b, how in pairs for cell in (f"{a:{how}} → {b:{how}}", f"{b / a:.3f}"))
    return (NAMES[row.name], row.dtype, *cells)


def _launches(row: Row) -> tuple[str, ...]:
    emitted = ", ".join(f"{count} {op}" for op, count in sorted(row.emitted.items()))
    refused = sum(count for told, count in row.refused.items() if told.partition(":")[0] in row.emitted)
    return (*_where(row), f"{row.sites[0]} of {row.sites[1]}", emitted, str(refused))


def _left(row: Row) -> tuple[str, ...]:
    kinds = Counter(f"{entry.op} of {entry.of}" for entry in row.beside)
    needers = Counter(needer.partition(" ")[0] for entry in row.beside for needer in entry.needed_by)
    return (*_where(row), *(", ".join(f"{n} {what}" for what, n in sorted(c.items())) for c in (kinds, needers)))


def _deploy(row: Row) -> tuple[str, ...]:
    counted = (row.refused, row.without_kernel)
    return (*_where(row), *("; ".join(f"{n} {what}" for what, n in sorted(c.items())) or "–" for c in counted))


def _where(row: Row) -> tuple[str, str, str]:
    return NAMES[row.name].partition(",")[0], row.dtype, f"{row.target.runtime} {row.target.soc}"


def main() -> int:
    """Measure every graph of the folder on every target, print the tables or write them into the page."""
    parser = argparse.ArgumentParser(description="What models of published configurations cost before and after.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="append", choices=NAMES, help="this one only (repeatable)")
    parser.add_argument("--page", type=Path, help="the page whose tables are to be replaced")
    options = parser.parse_args()
    graphs = [
        path
        for name in options.model or NAMES
        for dtype in ("float16", "bfloat16")
        if (path := options.folder / f"{name}-{dtype}.mindir").is_file()
    ]
    rows = []
    for graph in graphs:
        for target in TARGETS:
            if not (target.soc == "ascend310p" and graph.stem.endswith(_NOT_ON_310P)):
                rows.append(measure(graph, target))
                print(f"{graph.stem}, {_told(target)}", file=sys.stderr)
    made = tables(rows)
    if options.page is None:
        print(made)
        return 0
    page = options.page.read_text(encoding="utf-8")
    head, _, rest = page.partition(_BEGIN)
    options.page.write_text(f"{head}{_BEGIN}\n\n{made}\n\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
