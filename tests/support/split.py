"""A small model whose weights lie beside the graph, as MindSpore writes one that is too large for one file."""

from __future__ import annotations

from pathlib import Path

from attnfuse.mindir import codec, external
from attnfuse.mindir.external import lay_out, parameter_name, parameters
from tests.support.graphs import GraphBuilder, transformer


def write_split(folder: Path, stem: str = "unet", builder: GraphBuilder | None = None) -> Path:
    """Write `<stem>_graph.mindir` and `<stem>_variables/data_0`; the path of the graph."""
    model = (builder or transformer(stem)).build()
    values = {parameter_name(p): p.raw_data for p in parameters(model)}
    size = lay_out(model, f"{stem}_variables/data_0")
    data = bytearray(external.HEADER)
    for parameter in sorted(parameters(model), key=parameter_name):
        data += values[parameter_name(parameter)]
        data += bytes(-len(data) % 64)
    assert len(data) == size
    (folder / f"{stem}_variables").mkdir(parents=True)
    (folder / f"{stem}_variables" / "data_0").write_bytes(data)
    graph = folder / f"{stem}_graph.mindir"
    graph.write_bytes(codec.serialise(model))
    return graph
