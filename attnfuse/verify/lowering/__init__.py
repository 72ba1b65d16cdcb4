"""MindIR to ONNX (opset 23), for onnxruntime on a CPU: an executor of what the graph means, not of how Ascend runs it.

    arithmetic    the four arithmetics, and what a fused node rounds
    writer        the ONNX graph being written
    context       what a rule sees of its node, the table of rules
    elementwise   arithmetic, comparisons, activations, casts
    creation      tensors made from nothing but numbers and shapes
    layout        operators that only move values
    lookups       elements by their places, and in order
    linear        products, convolutions
    reductions    sums, means, norms, softmax
    composites    gates and rotations, as CANN's kernels compute them
    fused         FlashAttentionScore and PromptFlashAttention, as the formula their documentation gives
    graph         the walk over a whole file: calls inlined, dead code left out

Four arithmetics. NATIVE follows the types the graph declares: float32 is computed in float32; float16 and bfloat16 are
carried in float32 and rounded after every operator (to nearest, even), which is one rounding of a float32-accurate
result — onnxruntime's CPU has no kernels for them, and would otherwise fuse roundings away. EXACT computes every
floating-point value in float64 and drops casts between floating-point types: the value the formula stands for. A
constant that the type of a result cannot hold (−1e9 in float16) is infinite there all the same: what is meant by it is
what the type makes of it. FINER does
the same with each value in the next finer type, float32 for one of 16 bits: where a run can do with it, it takes half
of the memory and a third of the time. PLAIN has float32 alone, and computes fused nodes without their scores: for
measuring memory, not values.

A family module registers its rules when it is imported; `graph` imports them all.
"""

from attnfuse.verify.lowering.arithmetic import Arithmetic, Rounding
from attnfuse.verify.lowering.context import UnsupportedOpError
from attnfuse.verify.lowering.graph import IR_VERSION, OPSETS, Lowered, has_rule, lower, unknown_nodes

__all__ = [
    "IR_VERSION",
    "OPSETS",
    "Arithmetic",
    "Lowered",
    "Rounding",
    "UnsupportedOpError",
    "has_rule",
    "lower",
    "unknown_nodes",
]
