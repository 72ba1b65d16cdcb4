"""One attention in the text form (`attnfuse.ir.text.program`), fused and compared, or refused and left alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.ir.text import infer, parse_program
from attnfuse.ir.types import Array
from attnfuse.mindir.dtypes import BOOL
from attnfuse.mindir.schema import ModelProto, TensorProto
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import seeded


def fused(text: str, runtime: str, within: float = 1e-5, **inputs: Any) -> SiteRecord:
    """The record of the one site, which is fused and gives the formula's numbers on these and made-up inputs."""
    proto = parse_program(text, infer=infer)
    for value in proto.graph.input:
        inputs.setdefault(value.name.rsplit(":", 1)[-1], _drawn(value.name, value.tensor[0]))
    model, (site,) = run(proto, runtime)
    assert site.status == "fused", (site.code, site.reason)
    for after, before in zip(oracle.run(model, inputs), oracle.run(Model(proto), inputs), strict=True):
        np.testing.assert_allclose(after, before, rtol=within, atol=within, equal_nan=True)
    return site


def _drawn(name: str, tensor: TensorProto) -> Array:
    """Numbers; of a mask some of each kind, and a row of nothing but True."""
    numbers = seeded(name, tuple(tensor.dims)).astype(np.float64)
    if tensor.data_type != BOOL.wire:
        return numbers
    mask: Array = numbers > 0
    if mask.ndim > 1:
        mask[-1, ..., 0, :] = True
    return mask


def refused(text: str, runtime: str = "mindspore") -> tuple[str, str]:
    """Status and code of the one site, which is not fused, in a graph that stays as it was."""
    proto = parse_program(text, infer=infer)
    model, (site,) = run(proto, runtime)
    assert site.status != "fused"
    assert model.proto == proto
    return site.status, site.code


def run(proto: ModelProto, runtime: str) -> tuple[Model, list[SiteRecord]]:
    """A copy of the graph with its sites fused, and their records."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    model = Model(copy)
    return model, fuse(model, runtime)
