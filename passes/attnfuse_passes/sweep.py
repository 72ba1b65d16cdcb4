"""Taking away what a rewrite left without a reader, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from attnfuse.api import Edit, Model, NodeProto, Use


def sweep(model: Model, dead: Iterable[str], primitives_before: set[str]) -> None:
    """Remove the nodes of rewritten regions and whatever only they read; then primitives nobody uses any more.

    A value of a rewritten region that only the ordering of effects still mentions (UpdateState, a MakeTuple that only
    an UpdateState reads) is taken out of the ordering: its region is gone, so there is nothing left to order. Nodes
    that were unread before stay, and so do primitives that were unused: what is not ours is not touched.
    """
    _Sweep(model, set(dead)).run()
    used = {node.proto.op_type for node in model.nodes}
    edit = Edit(model)
    edit.drop_primitives = {ref for ref in primitives_before & set(model.primitives) if ref not in used}
    edit.apply()


class _Sweep:
    def __init__(self, model: Model, dead: set[str]) -> None:
        self._model = model
        self._dead = dead
        self._removed: set[str] = set()
        self._tuples: dict[str, list[str]] = {}
        self._inherits: set[str] = set()
        """States that stand in for a skipped one, and so are read where that was."""
        self._edit = Edit(model)

    def run(self) -> None:
        pending = sorted(self._dead, key=self._position, reverse=True)
        while pending:
            name = pending.pop(0)
            node = self._model.producer(name)
            if node is None or name in self._removed or name in self._edit.replace:
                continue
            if name in self._dead:
                self._detach(name)
            if self._uses(name) or name in self._inherits:
                continue
            self._removed.add(name)
            pending.extend(i for i in node.inputs if i not in self._removed and i not in self._dead)
            # A value of the region may have waited for this reader to go.
            pending.extend(i for i in node.inputs if i in self._dead)
        self._edit.remove = self._removed
        for name, inputs in self._tuples.items():
            if name not in self._removed:
                self._edit.replace[name] = self._shorter(name, inputs)
        self._edit.apply()

    def _position(self, name: str) -> int:
        node = self._model.producer(name)
        return -1 if node is None else node.index

    def _uses(self, name: str) -> list[Use]:
        return [
            use
            for use in self._model.uses(name)
            if use.node is None
            or (
                use.node.name not in self._removed
                and not (use.node.name in self._tuples and name not in self._tuples[use.node.name])
            )
        ]

    def _detach(self, name: str) -> None:
        """Take a value out of the ordering of effects, if that is all that reads it."""
        uses = self._uses(name)
        nodes = [use.node for use in uses]
        if not all(n is not None and self._is_order(n.name) for n in nodes):
            return
        for node in nodes:
            if node is None:
                continue
            if node.op == "UpdateState":
                self._skip(node.name)
            else:
                left = [i for i in self._tuples.get(node.name, node.inputs) if i != name]
                self._tuples[node.name] = left
                if not left:
                    for use in self._model.uses(node.name):
                        if use.node is not None:
                            self._skip(use.node.name)
                    self._removed.add(node.name)

    def _skip(self, update: str) -> None:
        node = self._model.producer(update)
        if node is not None:
            self._edit.rename[update] = node.inputs[0]
            self._inherits.add(node.inputs[0])
            self._removed.add(update)

    def _is_order(self, name: str) -> bool:
        node = self._model.producer(name)
        if node is None:
            return False
        if node.op == "UpdateState":
            return True
        onward = self._model.uses(name)
        return (
            node.op == "MakeTuple"
            and bool(onward)
            and all(use.node is not None and use.node.op == "UpdateState" for use in onward)
        )

    def _shorter(self, name: str, inputs: list[str]) -> NodeProto:
        node = self._model.producer(name)
        assert node is not None
        message = NodeProto()
        message.CopyFrom(node.proto)
        kept = [i for i, value in enumerate(node.inputs) if value in inputs]
        del message.input[:]
        message.input.extend(node.inputs[i] for i in kept)
        for attribute in message.attribute:
            if attribute.name == "shape" and len(attribute.values) == len(node.inputs):
                values = [attribute.values[i] for i in kept]
                copies = NodeProto()
                copies.attribute.extend(values)
                del attribute.values[:]
                attribute.values.extend(copies.attribute)
        return message
