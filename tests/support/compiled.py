"""Folders as a compile writes them, of a graph made here: no MindSpore runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from attnfuse import compiler
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, INT64, DType
from attnfuse.targets import Target
from tests.support.graphs import GraphBuilder

WEIGHT = np.arange(1, 5, dtype=np.float16)


def toy(folder: Path, *, dtype: DType = FLOAT16, rows: int = 2, runtime: Literal["lite", "mindspore"] = "lite") -> Path:
    """`toy` of `sample` [rows, 4] and `timestep` [1], int64: (sample * weight) and (timestep + timestep)."""
    g = GraphBuilder("toy")
    sample, timestep = g.input("sample", (rows, 4), dtype), g.input("timestep", (1,), INT64)
    g.output(g.mul(sample, g.parameter("weight", WEIGHT.astype(dtype.numpy))))
    g.output(g.node("Add", [timestep, timestep], g.type_of(timestep)))
    source = folder / "toy.mindir"
    source.write_bytes(codec.serialise(g.model().proto))
    target = Target(runtime, "ascend910b")
    outcome = compiler.compile(compiler.CompileRequest(source=str(source), output=folder / "out", target=target))
    assert outcome.written
    return folder / "out"


__all__ = ["BFLOAT16", "FLOAT16", "WEIGHT", "toy"]
