"""The corpus as it lies in `tests/corpus`: graphs without weights, compressed, and `sites.json`.

    NAME.mindir.xz   a graph; NAME is CASE-DTYPE
    sites.json       per graph what was counted without the matcher: see `Entry`

Imports no MindSpore: the tests read the corpus through this file.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from attnfuse.mindir import codec

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "corpus"
_SITES = "sites.json"
_SUFFIX = ".mindir.xz"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one graph without having matched anything.

    `softmax` and `fused` count nodes of the file, over the top graph and all functions; `modules` are the attention
    modules of the Python model, found by walking its cells.
    """

    family: str
    dtype: str
    nodes: int
    functions: int
    softmax: int
    fused: int
    modules: tuple[str, ...]


def count(data: bytes) -> dict[str, int]:
    """Count nodes, functions, Softmax and fused attention nodes of a graph from its bare message."""
    proto = codec.parse(data, "a traced graph")
    operators = {f"REF::{primitive.name}": primitive.op_type for primitive in proto.primitives}
    found = [operators.get(n.op_type, n.op_type) for graph in (proto.graph, *proto.functions) for n in graph.node]
    return {
        "nodes": len(found),
        "functions": len(proto.functions),
        "softmax": found.count("Softmax"),
        "fused": found.count("FlashAttentionScore") + found.count("PromptFlashAttention"),
    }


def names() -> list[str]:
    """Names of all graphs, sorted."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in FOLDER.glob(f"*{_SUFFIX}"))


def read(name: str) -> bytes:
    """The bytes of one graph's .mindir file."""
    return lzma.decompress((FOLDER / f"{name}{_SUFFIX}").read_bytes())


def write(name: str, data: bytes) -> None:
    """Store one graph; the same bytes give the same file."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}{_SUFFIX}").write_bytes(lzma.compress(data, preset=9))


def sites() -> dict[str, Entry]:
    """What was counted, per graph."""
    path = FOLDER / _SITES
    raw = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: Entry(**{**entry, "modules": tuple(entry["modules"])}) for name, entry in raw.items()}


def write_sites(entries: Mapping[str, Entry]) -> None:
    """Replace `sites.json`."""
    ordered = {name: asdict(entries[name]) for name in sorted(entries)}
    (FOLDER / _SITES).write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
