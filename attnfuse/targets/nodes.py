"""A node of a graph as the target's tables ask about it, and everything that they have against it.

A graph is deployable where `deployment_refusals` has nothing to say of its nodes; kernels that are missing the report
tells beside it. What legalisation asks, operator by operator, is `support`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node
from attnfuse.ir.operators.arguments import Argument, Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.attention import LAYOUTS
from attnfuse.ir.types import ScalarType, Special, TensorType, ValueType
from attnfuse.ir.values import Values, read_constant
from attnfuse.targets.attention import TILING as ATTENTION
from attnfuse.targets.attention import FusedNodeFacts, launch_refusals
from attnfuse.targets.composites import JUDGED, CompositeFacts, composite_refusals
from attnfuse.targets.composites import TILING as COMPOSITES
from attnfuse.targets.converter import converter_refusals
from attnfuse.targets.facts import Refusal, TensorFacts
from attnfuse.targets.ge import Adapter, kernel_refusal, lists_kernels_of, tables
from attnfuse.targets.limits import Target
from attnfuse.targets.ports import place

FUSED = "PromptFlashAttention"
_OF_KERNELS = "kernel."
"""How the codes of `kernel_refusal` begin."""


def node_refusals(target: Target, values: Values, node: Node) -> tuple[Refusal, ...]:
    """What the converter does not carry over, and what no device launches, of one node of `values.model`."""
    if node.op in (CONSTANT, CALL):
        return converter_refusals(target, values.model, node)
    return (
        *converter_refusals(target, values.model, node),
        *_launch(target, values, node),
        *_kernel(target, values, node),
    )


def deployment_refusals(target: Target, values: Values, node: Node) -> tuple[Refusal, ...]:
    """Those of `node_refusals` that keep a graph from MindSpore Lite: what is lost, refused, or never launched.

    Not a missing kernel: the engine casts, or the AI CPU computes the node. The runtime mindspore has no converter.
    """
    if target.runtime != "lite":
        return ()
    found = converter_refusals(target, values.model, node)
    if node.op in (CONSTANT, CALL):
        return found
    launch = (refusal for refusal in _launch(target, values, node) if not refusal.code.startswith(_OF_KERNELS))
    return (*found, *launch)


def judged_by(target: Target) -> dict[str, str]:
    """The versions that a graph for the target is held to, by what was taken from each; none for mindspore.

    No "kernels" for a SoC whose kernels were not read: nothing of the graph is held to them.
    """
    if target.runtime != "lite":
        return {}
    versions = {**tables().sources, "launches": f"{ATTENTION}; {COMPOSITES}"}
    return {what: of for what, of in versions.items() if what != "kernels" or lists_kernels_of(target.soc)}


def _launch(target: Target, values: Values, node: Node) -> tuple[Refusal, ...]:
    if node.op == FUSED:
        facts = fused_facts(values, node)
        return () if facts is None else launch_refusals(target, facts)
    composite = composite_facts(values, node)
    return () if composite is None else composite_refusals(target, composite)


def _kernel(target: Target, values: Values, node: Node) -> tuple[Refusal, ...]:
    adapter = tables().adapters.get(node.op)
    if adapter is not None and adapter.ge in JUDGED:
        return ()
    found = missing_kernel(target, values, node)
    return () if found is None else (found,)


def missing_kernel(
    target: Target, values: Values, node: Node, instead: Mapping[str, str] | None = None
) -> Refusal | None:
    """Why the SoC has no AI Core kernel for the node's element types, or for those that stand for them in `instead`.

    None where it has one, and of what no kernel list judges: calls, constants, fused attention, and operators that
    no adapter hands to CANN. A composite is asked for its own types only.
    """
    adapter = tables().adapters.get(node.op)
    if adapter is None or node.op in (CONSTANT, CALL, FUSED):
        return None
    if adapter.ge in JUDGED:
        refused = (found for found in _launch(target, values, node) if found.code.startswith(_OF_KERNELS))
        return next(refused, None)
    others = instead or {}
    inputs, outputs = (
        [None if dtype is None else others.get(dtype, dtype) for dtype in dtypes]
        for dtypes in _port_types(target, values, node, adapter)
    )
    return kernel_refusal(target, adapter.ge, inputs, outputs)


def fused_facts(values: Values, node: Node) -> FusedNodeFacts | None:
    """A PromptFlashAttention node in full; None where an argument that must be a constant is computed."""
    arguments = values.arguments(node)
    try:
        return FusedNodeFacts(
            layout=arguments.choice("input_layout", LAYOUTS),
            query=_facts(arguments.tensor("query")),
            key=_facts(arguments.tensor("key")),
            value=_facts(arguments.tensor("value")),
            heads=arguments.integer("num_heads"),
            kv_heads=arguments.integer("num_key_value_heads"),
            sparse_mode=arguments.integer("sparse_mode"),
            inner_precise=arguments.integer("inner_precise"),
            mask=_optional(arguments, "attn_mask"),
            pse_shift=_optional(arguments, "pse_shift"),
        )
    except (NotKnown, TypeMismatch):
        return None


def _optional(arguments: Arguments, name: str) -> TensorFacts | None:
    tensor_type = arguments.optional_tensor(name)
    return None if tensor_type is None else _facts(tensor_type)


def _facts(tensor_type: TensorType) -> TensorFacts:
    return TensorFacts(tensor_type.dims, tensor_type.dtype.name)


def composite_facts(values: Values, node: Node) -> CompositeFacts | None:
    """A composite node by GE's names; None for any other."""
    stored = _stored(values.model, node)
    if node.op == "Custom":
        name = stored.get("reg_op_name")
        inputs = tuple(_facts_of(values.argument(value).value_type) for value in node.inputs)
        return CompositeFacts(name, inputs, stored) if isinstance(name, str) and name in JUDGED else None
    adapter = tables().adapters.get(node.op)
    if adapter is None or adapter.ge not in JUDGED:
        return None
    listed = tables().prototypes[adapter.ge].inputs
    inputs = tuple(_facts_of(_port(values, node, adapter.inputs.get(port.name)).value_type) for port in listed)
    attributes = {ge: stored[name] for name, ge in adapter.attributes.items() if name in stored}
    arguments = {ge: _port(values, node, at).value for ge, at in adapter.input_attributes.items()}
    given = {ge: value for ge, value in arguments.items() if isinstance(value, bool | int | float)}
    return CompositeFacts(adapter.ge, inputs, attributes | given)


def _stored(model: Model, node: Node) -> dict[str, object]:
    """The attributes of the node's primitive."""
    return {a.name: read_constant(a).value for a in model.primitives[node.proto.op_type].attribute}


_ABSENT = Argument(Special.NONE, None)


def _port(values: Values, node: Node, position: int | None) -> Argument:
    """What an adapter finds at a position that counts from 1."""
    at = place(values.model, node, position)
    return _ABSENT if at is None or at > len(node.inputs) else values.argument(node.inputs[at - 1])


def _facts_of(value_type: ValueType) -> TensorFacts | None:
    return _facts(value_type) if isinstance(value_type, TensorType) else None


def _port_types(
    target: Target, values: Values, node: Node, adapter: Adapter
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """Element types in the order of the operator's kernels; None for what is absent or whole numbers beside tensors."""
    kernels = tables().kernels.get((adapter.ge, target.soc))
    names = () if kernels is None else kernels.inputs
    places = {**adapter.inputs, **adapter.dynamic_inputs}
    inputs = [_dtype(_port(values, node, places.get(name)).value_type) for name in names]
    made = values.argument(node.name).value_type
    outputs = [_dtype(value_type) for value_type in (made if isinstance(made, tuple) else (made,))]
    return inputs, outputs[:1] if adapter.has_dynamic_output else outputs


def _dtype(value_type: ValueType) -> str | None:
    """Of a tuple of tensors the first one's, of a number only that of a fraction: whole ones fit what is there."""
    if isinstance(value_type, TensorType):
        return value_type.dtype.name
    if isinstance(value_type, ScalarType):
        return value_type.dtype.name if value_type.dtype.is_float else None
    if isinstance(value_type, tuple) and value_type and isinstance(value_type[0], TensorType):
        return value_type[0].dtype.name
    return None
