"""Layouts that are there already: regroupings of regroupings, permutations that cancel, pieces that are the whole.

Sizes that are not known before run time are left alone, but for one that the others determine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from attnfuse.api import (
    CALL,
    CONSTANT,
    SPECIFICATIONS,
    UNKNOWN_DIM,
    Hands,
    Kernel,
    Model,
    Node,
    RewriteContext,
    Role,
    TensorType,
    effective_uses,
    hands,
    inputs_of,
    kernel,
    makes_tuple,
    role,
)
from attnfuse_passes.attention.axes import Atom, Space, keys, product
from attnfuse_passes.simplify.rules import Again, Permute, Regroup, Simpler, simplifies

_MOST_AXES = 8
"""What CANN's Transpose takes."""
_LONGEST = 16
"""Nodes in a row that are looked through: more than models have, and few enough for each of thousands to ask."""
_LAYOUTS = frozenset({Hands.REGROUPED, Hands.MOVED})
MADE, OPERAND = "made", "operand"
"""How a chain's views are called: of what it makes, and of what it makes that of."""


@simplifies("Reshape", "Squeeze", "Flatten")
def same_shape(at: RewriteContext) -> Simpler | None:
    """To the shape that is there; one size that is not known is what the others leave."""
    if at.out.dims != at.type(0).dims or not _determined(at.out):
        return None
    return Simpler("a regrouping to the same shape", at.input(0))


@simplifies("Reshape", "ExpandDims", "Squeeze", "Flatten")
def regrouped_again(at: RewriteContext) -> Simpler | None:
    """Of a regrouping: the shape alone says what both do. Two ExpandDims stay: they say no size, a Reshape would."""
    value, through, reshapes = at.input(0), list[str](), int(at.node.op == "Reshape")
    while (node := at.model.producer(value)) is not None and hands(node) is Hands.REGROUPED:
        if len(through) == _LONGEST:
            break
        through.append(value)
        value = node.inputs[0]
        reshapes += node.op == "Reshape"
    if not through or not reshapes or not _determined(at.out):
        return None
    same = at.tensor(value, "what is regrouped").dims == at.out.dims
    return Simpler("a regrouping of a regrouping", value, () if same else (Regroup(at.out.dims),), tuple(through))


@simplifies("GeLU", "SiLU", "Sigmoid", "Tanh", "ReLU")
def before_regrouping(at: RewriteContext) -> Simpler | None:
    """Of a product whose rows are regrouped for this alone, where a product takes an activation behind it in."""
    regrouping = at.model.producer(at.input(0))
    if regrouping is None or regrouping.op != "Reshape" or not SPECIFICATIONS[at.target.soc].fuses_behind_products:
        return None
    made = at.model.producer(regrouping.inputs[0])
    if made is None or made.op in (CALL, CONSTANT) or kernel(made) is not Kernel.PRODUCT or not _determined(at.out):
        return None
    if any(len(effective_uses(at.model, value)) != 1 for value in (regrouping.name, made.name)):
        return None
    return Simpler(
        "an activation of what is regrouped", made.name, (Again(at.node), Regroup(at.out.dims)), (regrouping.name,)
    )


@simplifies("Transpose")
def still(at: RewriteContext) -> Simpler | None:
    """That moves no axis, or only axes of one element: it regroups."""
    order, before = _order(at), at.static(0)
    moved = [axis for axis in order if before.dims[axis] != 1]
    if moved != sorted(moved):
        return None
    steps = () if before.dims == at.out.dims else (Regroup(at.out.dims),)
    return Simpler("a permutation that moves no number", at.input(0), steps)


@simplifies("Transpose")
def permuted_again(at: RewriteContext) -> Simpler | None:
    """Of a permutation, with regroupings between: none is left where they cancel, else one.

    One is written for two only where nothing else reads the first, which would stay.
    """
    chain = chain_of(at.model, at.node)
    space = space_of(at, chain) if len(chain) > 1 else None
    if space is None:
        return None
    view = space[MADE]
    base, through = chain[-1].inputs[0], tuple(node.name for node in chain[1:])
    flat = [atom for axis in view.axes for atom in axis]
    if keys(view.source) == keys(flat):
        same = at.tensor(base, "what is permuted").dims == at.out.dims
        return Simpler("permutations that cancel", base, () if same else (Regroup(at.out.dims),), through)
    source = _joined(view.source, flat)
    if len(source) > _MOST_AXES or any(len(effective_uses(at.model, name)) != 1 for name in through):
        return None
    firsts = [keys(atoms)[0] for atoms in source]
    order = tuple(firsts.index(atom.key) for atom in flat if atom.key in firsts)
    steps = (Regroup(tuple(product(atoms) for atoms in source)), Permute(order), Regroup(at.out.dims))
    return Simpler("permutations as one", base, steps, through)


@simplifies("StridedSlice", "Slice", "SliceExt", "Narrow")
def whole_slice(at: RewriteContext) -> Simpler | None:
    """As much as there is, each element: that is all of it."""
    if at.static(0) != at.out:
        return None
    names = {parameter.name: position for position, parameter in enumerate(inputs_of(at.node.op))}
    if any(set(at.integers(names[name])) != {1} for name in ("strides", "step") if name in names):
        return None
    masks = [names[name] for name in ("new_axis_mask", "shrink_axis_mask", "ellipsis_mask") if name in names]
    if any(position < len(at.node.inputs) and at.integer(position) for position in masks):
        return None
    return Simpler("a slice that takes all", at.input(0))


@simplifies("Tile", "BroadcastTo")
def repeated_once(at: RewriteContext) -> Simpler | None:
    """Repeated to the shape that is there."""
    return Simpler("a repetition of nothing", at.input(0)) if at.static(0) == at.out else None


@simplifies("TupleGetItem")
def sole_piece(at: RewriteContext) -> Simpler | None:
    """The one piece of a split."""
    maker = at.model.producer(at.input(0))
    if maker is None or role(maker) is Role.TUPLE or hands(maker) is not Hands.PICKED:
        return None
    pieces = at.model.types_of(maker.name)
    whole = at.tensor(maker.inputs[0], "what is split")
    if not isinstance(pieces, tuple) or len(pieces) != 1 or whole != at.out or not whole.is_static:
        return None
    return Simpler("a split that takes all", maker.inputs[0], through=(maker.name,))


@simplifies("Concat")
def sole_part(at: RewriteContext) -> Simpler | None:
    """Of one tensor."""
    parts = at.model.producer(at.input(0))
    if parts is None or not makes_tuple(parts) or len(parts.inputs) != 1:
        return None
    return Simpler("a concatenation of one", parts.inputs[0])


def _determined(kind: TensorType) -> bool:
    """Whether the sizes that are known leave one possibility for those that are not."""
    return kind.dims.count(UNKNOWN_DIM) == 0 or (kind.dims.count(UNKNOWN_DIM) == 1 and 0 not in kind.dims)


def _order(at: RewriteContext) -> tuple[int, ...]:
    return tuple(axis % at.out.rank for axis in at.integers(1))


def chain_of(model: Model, last: Node) -> list[Node]:
    """The node, and what stands before it of permutations and regroupings, up to the first permutation."""
    chain, nodes = [last], [last]
    while (node := model.producer(nodes[-1].inputs[0])) is not None and hands(node) in _LAYOUTS:
        if len(nodes) == _LONGEST:
            break
        nodes.append(node)
        if hands(node) is Hands.MOVED:
            chain = list(nodes)
    return chain


def space_of(at: RewriteContext, chain: Sequence[Node]) -> Space | None:
    """What the chain, given last node first, makes of its operand's axes; None where shapes cut across them."""
    space = Space()
    kind = at.tensor(chain[-1].inputs[0], "what is permuted")
    if not kind.is_static or 0 in kind.dims:
        return None
    space.put(MADE, space.identity(OPERAND, kind.dims))
    for node in reversed(chain):
        if node.op == "Transpose":
            order = replace(at, node=node).integers(1)
            space.transpose(MADE, [axis % len(order) for axis in order])
        elif hands(node) is not Hands.REGROUPED or not space.reshape(MADE, at.tensor(node.name, "it").dims):
            return None
    return space


def _joined(source: Sequence[Atom], flat: Sequence[Atom]) -> list[list[Atom]]:
    """The source's atoms, those together that stay side by side."""
    behind = {one.key: other.key for one, other in pairwise(flat)}
    joined: list[list[Atom]] = []
    for atom in source:
        if joined and behind.get(joined[-1][-1].key) == atom.key:
            joined[-1].append(atom)
        else:
            joined.append([atom])
    return joined
