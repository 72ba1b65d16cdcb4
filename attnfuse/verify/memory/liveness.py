"""How much memory a lowered graph needs: the bytes of the values that are alive together when it runs as written.

The rules are those of onnxruntime 1.32 on a CPU as `execution` sets it up (measured, by graphs of one operator): nodes
run in the order they are written in; a value is freed behind its last reader; a reshape gives another name to the same
memory; a softmax and a sigmoid are written over their operand where nobody reads that later. Nothing is counted of what
a kernel takes for itself while it runs.
"""

from __future__ import annotations

import math

import onnx
from onnx import helper

from attnfuse.errors import InternalError
from attnfuse.verify.lowering import Lowered
from attnfuse.verify.lowering.fused import MICROSOFT

_SAME_MEMORY = ("Reshape", "Squeeze", "Unsqueeze", "Identity")
_IN_PLACE = ("Softmax", "Sigmoid")


def peak_bytes(lowered: Lowered) -> int:
    """The most bytes alive at once of what the graph computes: its inputs, weights and constants are not counted."""
    graph = lowered.model.graph
    sizes = _sizes(lowered.model)
    memory: dict[str, str] = {}
    last: dict[str, int] = {}
    steps: list[tuple[onnx.NodeProto, set[str], set[str]]] = []
    for at, node in enumerate(graph.node):
        read = {memory.get(value, value) for value in node.input if value}
        written = {value for value in node.output if value}
        if node.op_type in _SAME_MEMORY:
            memory[node.output[0]] = memory.get(node.input[0], node.input[0])
            written = set()
        last |= dict.fromkeys(read | written, at)
        steps.append((node, read, written))
    last |= {memory.get(value.name, value.name): len(steps) for value in graph.output}

    alive: dict[str, int] = {}
    most = 0
    for at, (node, read, written) in enumerate(steps):
        done = {value for value in read | written if last[value] == at}
        if node.op_type in _IN_PLACE:
            for value in read & done:
                alive.pop(value, None)
        alive |= {value: sizes[value] for value in written}
        most = max(most, sum(alive.values()))
        for value in done:
            alive.pop(value, None)
    return most


def _sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Bytes of each value, by ONNX's own inference."""
    known = onnx.ModelProto()
    known.CopyFrom(model)
    for node in known.graph.node:
        if node.domain == MICROSOFT:
            # The inference does not know onnxruntime's own attention; ONNX's has a result of the same shape.
            heads = next(a.i for a in node.attribute if a.name == "num_heads")
            node.domain, node.op_type = "", "Attention"
            del node.attribute[:]
            node.attribute.extend(helper.make_attribute(name, heads) for name in ("q_num_heads", "kv_num_heads"))
    inferred = onnx.shape_inference.infer_shapes(known, strict_mode=True, data_prop=True).graph
    sizes = {}
    for value in (*inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if any(not dim.HasField("dim_value") for dim in kind.shape.dim):
            raise InternalError(f"the size of {value.name} in the lowered graph is not known.")
        item = helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
        sizes[value.name] = math.prod(dim.dim_value for dim in kind.shape.dim) * item
    return sizes
