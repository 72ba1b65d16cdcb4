"""Keeps a block, puts contents in the place of its entry, and writes down what each is taken for: for test_traced.py.

    python -m tests.support.kept_blocks FOLDER

Each file in FOLDER/contents is a content, whose digest the store makes agree. FOLDER/told.json has, by content, whether
a block is found, and whether it is after it was kept again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mindspore.train import mind_ir_pb2

from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from attnfuse.tracing.blocks.abstracts import Constants, Fixed, Group, Leaf
from attnfuse.tracing.blocks.pieces import BLOCK, MARK
from attnfuse.tracing.blocks.traced import BlockKey, Called, KeptBlocks, Traced
from attnfuse.tracing.contract import BlockCache

TAKES = Leaf((2, 8), "float32")
KEY: BlockKey = ("outer", (TAKES, Group("tuple", (TAKES, Fixed("None")))))
INNER: BlockKey = ("inner", (TAKES,))


def message(inputs: Sequence[tuple[int, ...]], parameters: Sequence[str], block: str = "") -> Any:
    """A graph with these inputs and parameters, and, where one is named, a stand-in for a block."""
    model = mind_ir_pb2.ModelProto(ir_version="0.1.0", mind_ir_version=3)
    model.graph.name = "g"
    for number, shape in enumerate(inputs):
        given = model.graph.input.add(name=f"g:a{number}")
        given.tensor.add(dims=shape, data_type=mind_ir_pb2.TensorProto.FLOAT)
    for name in parameters:
        model.graph.parameter.add(name=f"g:{name}", dims=[8, 8], data_type=mind_ir_pb2.TensorProto.FLOAT)
    if block:
        primitive = model.primitives.add(name=f"{BLOCK}:0", op_type=BLOCK)
        primitive.attribute.add(name="block", type=mind_ir_pb2.AttributeProto.STRING, s=block.encode())
    model.graph.output.add(name="g:out")
    return model


def outer() -> Traced:
    """A block with another one in it."""
    return Traced(
        kind="Outer",
        scope="Default/block-Outer",
        parameters=("fc.weight", "inner.weight"),
        owners={"fc.weight": "Default/block-Outer/fc-Dense"},
        message=message([TAKES.shape] * 2, ["fc.weight", f"{MARK}0"], "0"),
        result=Group("dict", (TAKES,), ("sample",)),
        made=Group("tuple", (TAKES,)),
        calls={"0": Called(INNER, ("inner.weight",), "Default/block-Outer/inner-Inner")},
    )


def inner(**other: Any) -> Traced:
    """The one in it."""
    told: dict[str, Any] = {
        "kind": "Inner",
        "scope": "Default/block-Inner",
        "parameters": ("weight",),
        "owners": {},
        "message": message([TAKES.shape], ["weight"]),
        "result": TAKES,
        "made": TAKES,
        "calls": {},
    }
    return Traced(**{**told, **other})


NOT_IT: dict[str, Traced] = {
    "other inputs": inner(message=message([(2, 9)], ["weight"])),
    "more inputs": inner(message=message([TAKES.shape] * 2, ["weight"])),
    "a parameter that is not told of": inner(message=message([TAKES.shape], ["weight", "bias"])),
    "more parameters": inner(parameters=("weight", "bias")),
    "a block that is not told of": inner(message=message([TAKES.shape], ["weight"], "7")),
    "no graph": inner(message=mind_ir_pb2.ModelProto(ir_version="0.1.0", mind_ir_version=3)),
    "no tensor": inner(result=Fixed("None"), made=Fixed("None")),
    "a result that it does not make": inner(made=Leaf((3,), "float32")),
}
"""Well formed, and not what traced the block."""


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    folder = Path(arguments[0])
    cache = BlockCache(str(folder / "cache"), True, None, "these tests")
    told: dict[str, tuple[bool, bool]] = {}

    def is_found(key: BlockKey, parameters: int) -> bool:
        return KeptBlocks(cache, (), Constants()).find(key, parameters, mind_ir_pb2.ModelProto) is not None

    kept, store = KeptBlocks(cache, (), Constants()), Store(folder / "cache")
    kept.keep(INNER, inner())
    kept.keep(KEY, outer())
    assert is_found(KEY, 2)
    assert is_found(INNER, 1)
    entry = store.get(Kind.BLOCKS, kept._name(INNER))
    assert entry is not None
    contents = {path.name: path.read_bytes() for path in sorted((folder / "contents").iterdir())}
    head = entry.partition(b"\n")[0]
    contents |= {"no message": head, "a message that is none": head + b"\n\xff\xff", "half": entry[: len(entry) - 9]}
    for key, parameters in ((INNER, 1), (KEY, 2)):  # by itself, and within another
        for name, content in contents.items():
            store.put(Kind.BLOCKS, kept._name(INNER), content)
            found = is_found(key, parameters)
            kept.keep(INNER, inner())
            told[f"{name} ({key[0]})"] = found, is_found(key, parameters)
        for name, other in NOT_IT.items():
            kept.keep(INNER, other)
            found = is_found(key, parameters)
            kept.keep(INNER, inner())
            told[f"{name} ({key[0]})"] = found, is_found(key, parameters)
    (folder / "told.json").write_text(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
