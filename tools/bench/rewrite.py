"""Time and memory of rewriting alone: from a .mindir file's bytes to the rewritten file.

    python -m tools.bench.rewrite GRAPH.mindir [--runtime lite|mindspore] [--runs N]

Each run is a fresh process. Prints a Markdown table: per stage the median and the range over the runs, and the
process's peak resident memory. CPU seconds are what a busy machine leaves comparable; where the processors are shared,
compare the last row, the whole beside the reading and writing of the message in the same run. The import of Python
modules is told apart, since a compile pays it once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_STAGES = (
    "import",
    "read and parse",
    "index",
    "check the source",
    "passes",
    "check after passes",
    "write",
    "total without import",
    "check structure",
)
TOTAL = _STAGES.index("total without import")
_MESSAGE = (_STAGES.index("read and parse"), _STAGES.index("write"))

_CHILD = """
import json, sys, time
now = lambda: (time.perf_counter(), time.process_time())
start = now()
from pathlib import Path
from attnfuse import collector
from attnfuse.ir.graph import Model
from attnfuse.ir.verifier import Verifier
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context, discover, run
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.verify.graph.structure import check_interface, new_findings
graph, runtime, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
passes = discover()
at = [start, now()]
pause = collector.paused()
pause.__enter__()
data = codec.read_bytes(graph)
message = codec.parse(data, graph.name)
at.append(now())
original = Model(message)
model = original.copy()
at.append(now())
nodes = len(model.nodes)
verifier = Verifier(original)
assert next(verifier.source_faults(), None) is None
at.append(now())
context = Context("unet", "unet", Policy(), Target(runtime, "ascend910b"))
checks = [0.0, 0.0]
def verify(ran):
    before = now()
    assert verifier.fault(ran.model, context.unneeded) is None
    after = now()
    checks[0] += after[0] - before[0]
    checks[1] += after[1] - before[1]
run(model, context, passes, verify)
ran = now()
at += [(ran[0] - checks[0], ran[1] - checks[1]), ran]
out.write_bytes(codec.serialise(model.proto))
pause.__exit__(None, None, None)
at.append(now())
from attnfuse.processes import peak_memory
peak = peak_memory()
at_check = now()
before = Model(codec.parse(data, graph.name))
assert not new_findings(before, model)[0] and not check_interface(before, model)
checked = now()
spans = [*zip(at, at[1:]), (at[1], at[-1]), (at_check, checked)]
stages = [[b[0] - a[0], b[1] - a[1]] for a, b in spans]
fused = sum(site.status == "fused" for site in context.sites)
print(json.dumps({"stages": stages, "peak": peak, "nodes": nodes, "sites": len(context.sites), "fused": fused}))
"""


def measure(graph: Path, runtime: str) -> dict[str, object]:
    """Rewrite `graph` in a fresh process: stages as [wall, CPU] seconds, peak memory in bytes, what was fused."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(graph), runtime, f"{folder}/out.mindir"],
            stdout=subprocess.PIPE,
            check=True,
        )
    result: dict[str, object] = json.loads(done.stdout)
    return result


def main() -> int:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description="Time and memory of rewriting one graph, in fresh processes.")
    parser.add_argument("graph", type=Path)
    parser.add_argument("--runtime", choices=("lite", "mindspore"), default="lite")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    runs = [measure(options.graph, options.runtime) for _ in range(options.runs)]
    first = runs[0]
    size = options.graph.stat().st_size / 1e6
    print(
        f"{first['nodes']} nodes, {first['fused']} of {first['sites']} sites fused, {size:.1f} MB, "
        f"{options.runtime}, {options.runs} runs\n\n"
        "| stage | wall s: median | range | CPU s: median |\n|---|---|---|---|"
    )
    for position, stage in enumerate(_STAGES):
        wall, cpu = zip(*(run["stages"][position] for run in runs), strict=True)  # type: ignore[index]
        middle, busy = statistics.median(wall), statistics.median(cpu)
        print(f"| {stage} | {middle:.3f} | {min(wall):.3f}–{max(wall):.3f} | {busy:.3f} |")
    shares = [run["stages"][TOTAL][1] / sum(run["stages"][at][1] for at in _MESSAGE) for run in runs]  # type: ignore[index]
    print(f"| total / read, parse and write | | | {statistics.median(shares):.0f} × |")
    peaks = sorted(int(str(run["peak"])) / 2**20 for run in runs)
    print(f"| peak memory, MiB | {statistics.median(peaks):.0f} | {peaks[0]:.0f}–{peaks[-1]:.0f} | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
