"""A compiled folder, and a folder of measurements of it, written here as the documents of CANN describe its files.

Nothing in it was measured: figures are made up. May import `attnfuse` and the graph builder of tests/support.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnfuse import compiler
from attnfuse.ir.graph import Model
from attnfuse.measured import measure
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16, FLOAT64
from attnfuse.output import MANIFEST
from tests.support.graphs import GraphBuilder, self_attention

RUNS = 2
ROWS, TOKENS, HEADS, SIZE = 2, 1024, 4, 64
WIDTH = HEADS * SIZE
STATISTIC_HEADING = (
    *("Device_id", "Model Name", "OP Type", "Core Type", "Count"),
    *("Total Time(us)", "Min Time(us)", "Avg Time(us)", "Max Time(us)", "Ratio(%)"),
)
SUMMARY_HEADING = (
    *("Device_id", "Model ID", "Task ID", "Stream ID", "Op Name", "OP Type", "OP State", "Task Type"),
    *("Task Start Time(us)", "Task Duration(us)", "Task Wait Time(us)", "Block Dim", "Input Shapes"),
)
Row = tuple[str, str, str, float]
"""Name, type and core of a node, and microseconds of one run of it."""


def _unet() -> GraphBuilder:
    """Two attention sites; a gated layer; angles in float64; a mean of squares; an operator that nobody knows."""
    g = GraphBuilder("unet")
    x = g.input("sample", (ROWS, TOKENS, WIDTH), FLOAT16)
    angles = g.input("angles", (ROWS, TOKENS, 1), FLOAT64)
    for number in range(2):
        g.scope = f"Default/blocks-CellList/{number}-Block/attn1-Attention"
        x = g.add(x, self_attention(g, x, f"blocks.{number}.attn1", heads=HEADS))
    g.scope = "Default/blocks-CellList/1-Block/ff-FeedForward"
    gate = g.dense(x, "blocks.1.ff", WIDTH)
    x = g.add(x, g.mul(gate, g.op("Sigmoid", gate)))
    g.scope = "Default/time-Embedding"
    x = g.mul(x, g.cast(g.op("Cos", angles), FLOAT16))
    g.scope = "Default/norm-Norm"
    g.output(g.op("Fancy", x), g.op("ReduceMean", g.mul(x, x), (2,), True))
    return g


def compiled(folder: Path) -> Path:
    """The folder that a compile wrote."""
    source = _unet().write(folder / "unet.mindir")
    assert compiler.compile(compiler.CompileRequest(source=str(source), output=folder / "out")).written
    return folder / "out"


def graph_of(out: Path) -> Model:
    """The finished graph."""
    path = out / "unet.mindir"
    return Model(codec.parse(codec.read_bytes(path), str(path)))


def names(out: Path, op: str) -> list[str]:
    """The full names of the finished graph's nodes of an operator, as the engine is given them."""
    return [node.scope for node in graph_of(out).nodes if node.op == op]


def rows(out: Path) -> list[Row]:
    """A profile of one run: the engine's own names and types, made-up times."""
    attention = [(name, "PromptFlashAttention", "MIX_AIC", 60.0) for name in names(out, "PromptFlashAttention")]
    products = [(f"{name}_to_v3", "MatMulV3", "AI_CORE", 6.5) for name in names(out, "MatMul")]
    residuals = [(name, "Add", "AI_VECTOR_CORE", 4.25) for name in names(out, "Add")[:2]]
    region = "".join((*names(out, "Sigmoid"), names(out, "Mul")[0], names(out, "Add")[2]))
    (angles,) = names(out, "Cos")
    return [
        *attention,
        *products,
        *residuals,
        (region, "AutomaticBufferFusionOp", "AI_VECTOR_CORE", 5.5),
        (angles, "Cos", "AI_CPU", 120.0),
        (names(out, "Mul")[1], "Mul", "AI_CPU", 40.0),
        (f"{names(out, 'Mul')[2]}{names(out, 'ReduceMean')[0]}", "ReduceMeanD", "AI_VECTOR_CORE", 4.0),
        ("trans_Data_0", "TransData", "AI_VECTOR_CORE", 3.0),
        ("Fancy_1", "FancyOp", "AI_VECTOR_CORE", 2.0),
    ]


def summary(profile: Sequence[Row], runs: int = RUNS) -> str:
    """op_summary of so many runs."""
    lines = [SUMMARY_HEADING]
    for number in range(runs * len(profile)):
        name, kind, core, time = profile[number % len(profile)]
        cells = ("0", "1", str(number), "2", name, kind, "static", core, f"{1000 + number}.5\t", f"{time}", "0.1", "24")
        lines.append((*cells, '"""2,1024,256"""'))
    return table(lines)


def statistic(profile: Sequence[Row], runs: int = RUNS) -> str:
    """op_statistic of so many runs."""
    found: dict[tuple[str, str], list[float]] = {}
    for _, kind, core, time in profile:
        found.setdefault((kind, core), []).append(time)
    lines = [STATISTIC_HEADING]
    for (kind, core), times in found.items():
        total = f"{runs * sum(times)}"
        lines.append(("0", "", kind, core, str(runs * len(times)), total, "1", "2", "3", "4.5"))
    return table(lines)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as msprof writes them."""
    return "".join(",".join(cells) + "\n" for cells in lines)


def build_log(out: Path) -> str:
    """A log in which the engine refuses a node, a kernel's tiling another, and the converter an operator."""
    (cosine,), attention = names(out, "Cos"), names(out, "PromptFlashAttention")
    return f"""\
[WARNING] GE_ADPT(837950,7feb6e13bf40,converter_lite):2025-11-30-08:00:00.000.001 [transform_util.cc:82] FindAdapter] \
Can't find OpAdapter for Fancy
[ERROR] OP(837950,converter_lite):2025-11-30-08:00:01.000.001 [prompt_flash_attention_tiling.cpp:700]837951 \
OpName:[{attention[1]}] "d should be align when high precision, d = 40."
[ERROR] FE(837950,converter_lite):2025-11-30-08:00:01.000.002 [fe_ops_kernel_info_store.cc:713]837951 \
[SubGraphOpt][Compile][CompileOpTiling] Tiling failed, op name = {attention[1]}, op type = PromptFlashAttention.
[PID: 837950] 2025-11-30-08:00:02.000.001 Unsupported_Operator(EZ3002): Optype [Cos] of Ops kernel [AIcoreEngine] is \
unsupported. Reason: [Static shape check]: data type DT_DOUBLE of input [x] is not supported.
        Possible Cause: The operator type is unsupported in the operator information library due to mismatch.
        TraceBack (most recent call last):
        Optype [Cos] of Ops kernel [aicpu_ascend_kernel] is unsupported. Reason: not found.
        No supported Ops kernel and engine are found for [{cosine}], optype [Cos].
        No supported Ops kernel and engine are found for [{cosine}], optype [Cos].
"""


FUSIONS: Mapping[str, Any] = {
    "session_and_graph_id_0_0": {
        "graph_fusion": {
            "MatMulBiasAddFusionPass": {"effect_times": "1", "match_times": "1"},
            "ZConcatv2dFusionPass": {"effect_times": "2", "match_times": "2"},
            "SoftmaxFusionPass": {"effect_times": "0", "match_times": "1"},
        },
        "ub_fusion": {
            "AutomaticUbFusion": {"effect_times": "0", "match_times": "1", "repository_hit_times": "0"},
            "TbeReduceElemwiseFusionPass": {"effect_times": "1", "match_times": "1", "repository_hit_times": "0"},
        },
    }
}
ALIGNED: Sequence[Mapping[str, Any]] = (
    {"component": "unet", "file": "unet_0.npz", "output": "sample", "max_abs": 0.0009765625, "relative": 2.5e-4}
    | {"cosine": 0.999999951, "psnr_db": None, "limits": {"max_abs": 0.004, "cosine": 0.9999}, "findings": []},
    {"component": "unet", "file": "unet_1.npz", "output": "sample", "max_abs": 0.03125, "relative": 9e-3}
    | {"cosine": 0.99995, "psnr_db": None, "limits": {"max_abs": 0.004, "cosine": 0.9999}}
    | {"findings": ["largest difference 0.0312, at most 0.004"]},
)


@dataclass(frozen=True)
class Measured:
    """What was compiled, and what somebody with a device would send."""

    out: Path
    folder: Path

    @property
    def unet(self) -> Path:
        """The folder of the one component."""
        return self.folder / "unet"

    def index(self, **changed: Any) -> None:
        """Write measured.json with these keys changed."""
        manifest = json.loads((self.out / MANIFEST).read_bytes())
        document = {
            "schema": measure.SCHEMA,
            "board": "Ascend910B3",
            "versions": {"cann": "8.1.RC1", "mindspore_lite": "2.7.1"},
            "components": [
                {"name": "unet", "graph_sha256": manifest["outputs"]["unet.mindir"]["sha256"], "runs": RUNS}
            ],
        }
        (self.folder / measure.INDEX).write_text(json.dumps(document | changed))


def write(out: Path, folder: Path) -> Measured:
    """A folder with every kind of message in it."""
    found = Measured(out, folder)
    found.unet.mkdir(parents=True)
    found.index()
    profile = rows(out)
    texts = {
        "build.log": build_log(out),
        "fusion_result.json": json.dumps(FUSIONS, indent=4),
        "op_summary_20251130080003.csv": summary(profile),
        "op_statistic_20251130080003.csv": statistic(profile),
        "align.json": json.dumps(ALIGNED),
    }
    for name, text in texts.items():
        (found.unet / name).write_text(text, encoding="utf-8")
    return found
