"""What several sites write alike is written once: the masks of a graph, their guards and what is cast for them.

Each site writes for itself. Where two read the same mask with the same sizes, what they write of it is the same to the
argument, and the first stands before all who read the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from attnfuse.api import (
    CONSTANT,
    Edit,
    Effects,
    Model,
    Node,
    Role,
    SiteRecord,
    TensorType,
    attribute,
    inputs_of,
    nearest,
    short_name,
)

_TERMS = ("attn_mask", "pse_shift", "real_shift")
"""How fused operators call mask and bias."""
_WRITTEN = "attnfuse_"
"""How the names of all written nodes begin."""


def share_equal(model: Model, effects: Effects) -> None:
    """Let whoever reads a written node read the first of its graph that has the same operator, arguments and type.

    Whatever a pass writes is free of effects. A node that reads what is changed in place is told from every other.
    """
    edit = Edit(model)
    first: dict[tuple[object, ...], str] = {}
    known: dict[str, object] = {}
    for node in model.nodes:
        if node.op == CONSTANT:
            known[node.name] = _attributes(node)
            continue
        if not short_name(node.name).startswith(_WRITTEN) or effects.mutated & {node.name, *node.inputs}:
            continue
        arguments = tuple(known.get(name, edit.rename.get(name, name)) for name in node.inputs)
        kept = first.setdefault((node.graph.name, node.proto.op_type, arguments, _type(node)), node.name)
        if kept != node.name:
            edit.rename[node.name] = kept
            edit.remove.add(node.name)
    edit.remove |= {name for name in known if _is_idle(model, name, edit.remove)}
    edit.apply()


def masks_once(model: Model, sites: Sequence[SiteRecord]) -> list[SiteRecord]:
    """The records, with the bytes of a mask or bias that several sites read at the first of them alone.

    A constant that each has for itself counts as one: equal ones become one (`deduplicate_constants`).
    """
    told, seen = list(sites), set[object]()
    for at, site in enumerate(sites):
        node = nearest(model, site.stands_for, Role.FUSED_ATTENTION) if site.mask_bytes and site.stands_for else None
        if node is not None:
            terms = dict(_terms(model, node))
            fresh = [kind.size * kind.dtype.itemsize for key, kind in terms.items() if key not in seen]
            told[at] = replace(site, mask_bytes=sum(fresh))
            seen.update(terms)
    return told


def _terms(model: Model, node: Node) -> Iterator[tuple[object, TensorType]]:
    """Mask and bias of a fused node, of known sizes, by what tells them from others."""
    for parameter, value in zip(inputs_of(node.op), node.inputs, strict=False):
        kind, made = model.type_of(value), model.producer(value)
        if parameter.name in _TERMS and kind is not None and kind.is_static:
            yield (value if made is None or made.op != CONSTANT else _attributes(made)), kind


def _is_idle(model: Model, constant: str, removed: set[str]) -> bool:
    """Whether only nodes that go read a written constant."""
    readers = [use.node for use in model.uses(constant)]
    written = short_name(constant).startswith(_WRITTEN)
    return written and all(reader is not None and reader.name in removed for reader in readers)


def _attributes(node: Node) -> tuple[bytes, ...]:
    return tuple(a.SerializeToString(deterministic=True) for a in node.proto.attribute)


def _type(node: Node) -> bytes:
    shape = attribute(node.proto, "shape")
    return b"" if shape is None else shape.SerializeToString(deterministic=True)
