"""A family of rewritten graphs becomes one graph with -1 for what follows the batch.

A declared type says -1 wherever its dimension follows the batch. A constant cannot: what stands there must be a number.
So each use of one that follows the batch must be one of these, and the component is refused for any other:

    Reshape, View         the target's one such element becomes the -1 that an operator works out
    StridedSlice          an end behind all rows, or one that is masked: it is left out
    BroadcastTo           of as many rows already: nothing, or a Tile along the other axes
    Tile, Repeat, BroadcastTo   of one row, along the first axis: see `rows`
    FillV2, Zeros, Ones, …      of one number: see `rows`
    a tensor              of equal rows, or 0, 1, 2, … one a row: see `rows`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attnfuse.dynamic.family import BatchDependentNumber, BatchFamily, Owner, write
from attnfuse.dynamic.rows import Rows, is_filled, is_repeated
from attnfuse.ir.builder import NotWritableError
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import CONSTANT, Model, Node, NotALiteralError, Use, attribute
from attnfuse.ir.operators.columns import Hands
from attnfuse.ir.questions import argument_name, hands, sizes_position
from attnfuse.ir.types import UNKNOWN_DIM
from attnfuse.mindir.schema import AttributeProto, ModelProto, NodeProto


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A graph with -1 in it, and what those of its declared types are at a batch."""

    model: ModelProto
    declared: Mapping[Owner, tuple[BatchDependentNumber, ...]]

    def bind(self, batch: int) -> ModelProto:
        """The graph with the declared types of one batch. Nothing else is touched: it computes what the graph does."""
        made = ModelProto()
        made.CopyFrom(self.model)
        write(made, self.declared, batch)
        return made


def generalise(family: BatchFamily) -> Dynamic:
    """The one graph that stands for the family at every batch.

    Raises TraceError, naming the node, where an operator has no way to follow the batch.
    """
    proto = ModelProto()
    proto.CopyFrom(family.model)
    model = Model(proto)
    declared: dict[Owner, tuple[BatchDependentNumber, ...]] = {}
    constants: list[tuple[Node, tuple[BatchDependentNumber, ...]]] = []
    for owner, places in family.places.items():
        node = model.producer(owner[1]) if owner[0] == "node" else None
        if node is None or node.op != CONSTANT:
            if node is not None and any(not _is_type(node.proto, place) for place in places):
                raise family.refuse(node, "an attribute of it follows the batch")
            declared[owner] = places
        else:
            constants.append((node, places))
    edit = Edit(model)
    rows = Rows(model, edit, family)
    for node, places in constants:
        try:
            if any(place.rows is not None for place in places):
                rows.stretch_constant(node, places)
            else:
                _rewrite_uses(family, model, edit, rows, node, places)
        except NotWritableError as error:
            raise family.refuse(node, f"no node can be written for it: {error}") from error
    write(proto, declared, None)
    declared.update(rows.declared)
    edit.apply()
    return Dynamic(proto, declared)


def _is_type(node: NodeProto, place: BatchDependentNumber) -> bool:
    """Whether the place is in the node's declared type."""
    field, position = place.path[0], place.path[1]
    return field == "attribute" and isinstance(position, int) and node.attribute[position].name == "shape"


def _rewrite_uses(
    family: BatchFamily, model: Model, edit: Edit, rows: Rows, constant: Node, places: tuple[BatchDependentNumber, ...]
) -> None:
    """Write every use of a constant whose elements follow the batch so that it follows any."""
    try:
        value = model.literal(constant.name)
    except NotALiteralError:
        value = None
    lines = {place.path[3]: place.line for place in places if len(place.path) > 3 and place.path[2] == "values"}
    uses = model.uses(constant.name)
    if not isinstance(value, tuple) or len(lines) != len(places) or any(use.node is None for use in uses):
        raise family.refuse(constant, "a constant follows the batch that is no shape")
    targets: dict[tuple[int, ...], list[Use]] = {}
    for use in uses:
        assert use.node is not None
        if _is_target_shape(use.node, use.position):
            targets.setdefault(_reshape_target(family, model, use.node, value), []).append(use)
        elif use.node.op == "StridedSlice" and argument_name(use.node, use.position) == "end":
            _take_all_rows(family, model, rows, use.node, tuple(lines))
        elif (is_repeated(use.node) or is_filled(use.node)) and use.position == sizes_position(use.node):
            rows.stretch_shape(use.node, value, {int(axis): line for axis, line in lines.items()})
        else:
            raise family.refuse(use.node, f"its argument {argument_name(use.node, use.position)} follows the batch")
    if not targets:
        edit.remove.add(constant.name)  # those that were made longer have another shape
    # Where the shape has a -1 already, which is now known and is replaced, its uses may need different ones.
    for number, (target, reshapes) in enumerate(targets.items()):
        made = NodeProto()
        made.CopyFrom(constant.proto)
        _fill(attribute(made, "value"), target)
        if number == 0:
            edit.replace[constant.name] = made
            continue
        made.name = made.output[0] = f"{constant.name}_{number}"
        edit.before.setdefault(constant.name, []).append(made)
        for use in reshapes:
            assert use.node is not None
            edit.arguments[use.node.name, use.position] = made.name


def _take_all_rows(family: BatchFamily, model: Model, rows: Rows, node: Node, axes: tuple[object, ...]) -> None:
    """A slice up to the batch, of which it takes all rows: its end is left out, by the mask of ends."""
    begin, end, step, *others = (_literal(model, value) for value in node.inputs[1:])
    masks = [mask for mask in others if isinstance(mask, int)]  # of begins, ends, an ellipsis, new axes, lost axes
    plain = isinstance(begin, tuple) and isinstance(step, tuple) and len(masks) == len(others) and not any(masks[2:])
    if axes != (0,) or not plain:
        raise family.refuse(node, "its argument end follows the batch")
    assert isinstance(begin, tuple)
    assert isinstance(end, tuple)  # it is what follows the batch
    assert isinstance(step, tuple)
    if masks[1] & 1 == 0:
        from_first = masks[0] & 1 == 1 or begin[0] == 0
        if not from_first or step[0] != 1 or not rows.are_those_of(node.inputs[0], node.name):
            raise family.refuse(node, "its argument end follows the batch")
    ends = tuple(number for number in end[1:] if isinstance(number, int))
    rows.argue(node, {2: (0, *ends), 5: masks[1] | 1})


def _literal(model: Model, value: str) -> object:
    return model.literal(value) if model.is_literal(value) else value


def _is_target_shape(node: Node, position: int) -> bool:
    """Whether that input is the shape which the node moves its numbers into: one -1 in it stands for what is left."""
    return hands(node) is Hands.REGROUPED and argument_name(node, position) == "shape"


def _reshape_target(family: BatchFamily, model: Model, node: Node, value: tuple[object, ...]) -> tuple[int, ...]:
    """The shape with -1 where the result follows the batch: in one place, or it is refused."""
    tensor_type = model.type_of(node.name)
    unknown = {place.path[-1] for place in family.places.get(("node", node.name), ()) if _is_type(node.proto, place)}
    if tensor_type is None or len(tensor_type.dims) != len(value) or len(unknown) != 1:
        raise family.refuse(node, "more than one dimension of its result follows the batch")
    return tuple(UNKNOWN_DIM if axis in unknown else dim for axis, dim in enumerate(tensor_type.dims))


def _fill(literal: AttributeProto | None, target: tuple[int, ...]) -> None:
    assert literal is not None  # it was read
    for element, size in zip(literal.values, target, strict=True):
        element.ints[:] = [size]
