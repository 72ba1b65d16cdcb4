"""Run in a subprocess: `python -m tools.matrix.published.worker RESULTS SECONDS NAME...` traces and rewrites rows.

Imports mindone once, then forks a child for each row, so that every trace is the first of its process and a crash ends
none but itself. Into RESULTS goes a JSON file for each row. Worker side.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import mindone.diffusers
import mindone.transformers  # noqa: F401  # once, and not in each child
import mindspore

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.ir.values import Values
from attnfuse.mindir.schema import ModelProto
from attnfuse.pass_manager import Context, discover, run
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.targets.nodes import deployment_refusals
from attnfuse.tracing.build import build_skeleton, trace
from attnfuse.tracing.canonical import canonicalise
from attnfuse.tracing.contract import ComponentPlan
from attnfuse.tracing.worker import first_line
from tools.matrix.published.rows import file_of, group_of, wide_rows

SOC = "ascend910b"
RUNTIMES = ("lite", "mindspore")


def main(results: Path, seconds: int, names: list[str]) -> None:
    """Make the rows of these names."""
    with tempfile.TemporaryDirectory(prefix="widths-") as work:
        groups = dict.fromkeys(map(group_of, names))
        rows = {row.name: row for n, group in enumerate(groups) for row in wide_rows(Path(work) / str(n), group)}
        gc.collect()
        gc.freeze()
        for name in names:
            place, row = results / file_of(name), rows[name]
            assert row.plan is not None
            place.unlink(missing_ok=True)
            begun = time.monotonic()
            status = _in_child(place, row.plan, row.traced, seconds)
            if not place.is_file():
                _write(place, {"traced": row.traced, "error": f"the process ended with {status}"})
            print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)


def _in_child(place: Path, plan: ComponentPlan, traced: str, seconds: int) -> str:
    """Make one row in a process of its own that has so many seconds of a core; how that ended."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            mindspore.set_device("CPU")
            _write(place, {"traced": traced, **_made(plan)})
        except Exception as error:
            traceback.print_exc()
            _write(place, {"traced": traced, "error": first_line(error)})
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"code {os.waitstatus_to_exitcode(status)}"


def _made(plan: ComponentPlan) -> dict[str, Any]:
    message, _ = trace(plan, build_skeleton(plan))
    canonicalise(message, plan.name)
    graph = message.SerializeToString(deterministic=True)
    return {runtime: _rewritten(graph, plan.name, Target(runtime, SOC)) for runtime in RUNTIMES}


def _rewritten(graph: bytes, name: str, target: Target) -> dict[str, Any]:
    """What became of the graph's sites, and what of the result the target does not take."""
    model = Model(ModelProto.FromString(graph))
    context = Context(name, name, Policy(), target)
    run(model, context, discover(), lambda *_: None)
    values = Values(model)
    refused = Counter(
        f"{node.op} {refusal.code}" for node in model.nodes for refusal in deployment_refusals(target, values, node)
    )
    return {"sites": [_site(site) for site in context.sites], "refused": dict(sorted(refused.items()))}


def _site(site: SiteRecord) -> dict[str, Any]:
    facts = site.facts
    return {
        "status": site.status,
        "code": site.code,
        "reason": site.reason,
        "heads": _heads(site),
        "head_dim": facts.head_dim,
        "query": facts.query_length,
        "key": facts.key_length,
        "assumptions": sorted({one.evidence for one in site.obligations if one.kind == "assumption"}),
    }


def _heads(site: SiteRecord) -> int | None:
    """The heads of query, where its shape tells them."""
    shape, width = site.query_shape, site.facts.head_dim
    layout = (site.layout or "BNSD").partition("_")[0]
    if shape is None or width is None or len(shape) != len(layout):
        return None
    if "N" in layout:
        return shape[layout.index("N")]
    return shape[layout.index("H")] // (width + site.head_dim_padding)


def _write(place: Path, found: dict[str, Any]) -> None:
    temporary = place.with_suffix(".new")
    temporary.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.rename(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
