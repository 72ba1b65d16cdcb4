"""Fused nodes that are known to be wrong where they were made: told by name, never corrected.

What a graph says is what it means; a tool that "corrected" it could only guess. These are the mistakes of mindone 0.5.0
that a graph shows (others, such as a causal flag that was dropped without a trace, it cannot show):

    scale left at 1.0            models/autoencoders/autoencoder_kl_wan.py
    no cast to 16 bits           models/autoencoders/autoencoder_kl_qwenimage.py
    a bias turned into a mask    Attention.flash_attention_op: a float mask becomes `.bool()`
    the first head's mask only   Attention.flash_attention_op: `[:, :1]`
    causal with no mask          models/attention_dispatch.py: sparse_mode 2 and no triangle
"""

from __future__ import annotations

from attnfuse.api import ELEMENTS, Hands, Model, Node, Role, dtypes, hands, role, source
from attnfuse_passes.attention.fused_arguments import FusedArguments

_HANDED_ON = ELEMENTS - {Hands.CONVERTED}
"""What leaves a mask a mask: a cast may make one."""
_TO_BOOL = {"Cast", "NotEqual", "NotEqualScalar"}
_REPEATS_AN_AXIS = {"RepeatInterleaveInt", "Tile"}
_COMPRESSED = (2, 3, 4)


def known_wrong(model: Model, found: FusedArguments, head_dim: int | None) -> tuple[str, ...]:
    """A warning for each mistake that the node shows; none for an operator that mindone never makes.

    `head_dim` is None where it cannot be read.
    """
    if found.node.op != "FlashAttentionScore":
        return ()
    warnings = [_scale(found, head_dim), _type(model, found.node), _compressed(found)]
    if found.mask is not None:
        warnings += [_bias_as_mask(model, found.mask), _first_head(model, found.mask)]
    return tuple(text for text in warnings if text is not None)


def _scale(found: FusedArguments, head_dim: int | None) -> str | None:
    if head_dim is None or found.scale != 1.0 or head_dim == 1:
        return None
    return (
        f"its scale is 1.0 with a head size of {head_dim}: if it was meant to be 1/√{head_dim}, the model forgot to "
        "say so, as mindone's autoencoder_kl_wan does"
    )


def _type(model: Model, node: Node) -> str | None:
    tensor_type = model.type_of(node.inputs[0])
    if tensor_type is None or tensor_type.dtype.is_low_precision:
        return None
    dtype = tensor_type.dtype
    return f"its query is {dtype}, which the operator does not take: mindone's autoencoder_kl_qwenimage casts none"


def _compressed(found: FusedArguments) -> str | None:
    if found.sparse_mode not in _COMPRESSED or found.mask is not None:
        return None
    return (
        f"its sparse_mode {found.sparse_mode} asks for a 2048 × 2048 triangle as the mask, and it has none, as in "
        "mindone's attention_dispatch"
    )


def _bias_as_mask(model: Model, mask: str) -> str | None:
    """A float that became bool on its way to the mask; a 0/1 mask that was a bool before is none."""
    node = _origin(model, mask)
    if node is None or node.op not in _TO_BOOL:
        return None
    before = model.type_of(node.inputs[0])
    if before is None or not before.dtype.is_float:
        return None
    return (
        f"its mask is {before.dtype} turned to bool, so that every number but 0 discards a key: if it was a bias, "
        "that is lost, as in mindone's flash_attention_op"
    )


def _first_head(model: Model, mask: str) -> str | None:
    """A slice of the first of several heads."""
    value: str = mask
    while (node := model.producer(value)) is not None and (handed := source(node, _HANDED_ON)) is not None:
        before, after = model.type_of(handed), model.type_of(node.name)
        if (
            hands(node) is Hands.PICKED
            and role(node) is not Role.LOOKUP
            and before is not None
            and after is not None
            and before.rank == after.rank == 4
            and before.dims[1] > after.dims[1] == 1
            and not _same_for_all(model, handed, before.dims[1])
        ):
            return (
                f"its mask is that of the first of {before.dims[1]} heads: the others' are lost, as in mindone's "
                "flash_attention_op"
            )
        value = handed
    return None


def _same_for_all(model: Model, mask: str, heads: int) -> bool:
    """Whether the mask was made for all heads by repeating one, so that the first says all there is."""
    while (node := model.producer(mask)) is not None and (handed := _source_of_mask(node)) is not None:
        before, after = model.type_of(handed), model.type_of(node.name)
        if before is None or after is None or not (before.is_static and after.is_static):
            return False
        if hands(node) is Hands.REPEATED:
            if before.rank == after.rank == 4 and before.dims[1] == 1 and after.dims[1] == heads:
                return True
            # Where batch and heads are one axis, what is repeated is the size.
            if node.op in _REPEATS_AN_AXIS and after.size == heads * before.size:
                return True
        mask = handed
    return False


def _source_of_mask(node: Node) -> str | None:
    """What a mask is the same for all heads with: another type and the negation keep that."""
    return node.inputs[0] if node.op == "LogicalNot" else source(node, ELEMENTS)


def _origin(model: Model, mask: str) -> Node | None:
    """What computed the mask, before it was sliced, repeated or negated."""
    node = model.producer(mask)
    while node is not None:
        handed = source(node, _HANDED_ON)
        if handed is None and (node.op == "LogicalNot" or _keeps_bool(model, node)):
            handed = node.inputs[0]
        if handed is None:
            break
        node = model.producer(handed)
    return node


def _keeps_bool(model: Model, node: Node) -> bool:
    """A cast between bool and the 0 and 1 of uint8."""
    types = [model.type_of(name) for name in (node.name, *node.inputs[:1])]
    return node.op == "Cast" and all(
        tensor_type is not None and tensor_type.dtype in (dtypes.BOOL, dtypes.UINT8) for tensor_type in types
    )
