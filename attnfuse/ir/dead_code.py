"""Dead-code elimination: what a rewrite left without a reader goes, and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from attnfuse.ir.edit import Edit
from attnfuse.ir.effects import only_orders
from attnfuse.ir.graph import Model, Node
from attnfuse.ir.questions import orders_effects
from attnfuse.mindir.schema import NodeProto


def eliminate_dead_code(model: Model, dead: Iterable[str], primitives_before: set[str]) -> None:
    """Remove the nodes of rewritten regions and whatever only they read; then primitives nobody uses any more.

    A value of a rewritten region that only the ordering of effects still mentions (UpdateState, a MakeTuple that only
    an UpdateState reads) is taken out of the ordering: its region is gone, so there is nothing left to order. Nodes
    that were unread before stay, and so do primitives that were unused: what is not ours is not touched.
    """
    _Elimination(model, set(dead)).run(primitives_before)


class _Elimination:
    """One walk from the dead values back. What is left of each value's uses is counted, never searched again: a
    constant or a tuple of all state may have as many readers as the graph has nodes."""

    def __init__(self, model: Model, dead: set[str]) -> None:
        self._model = model
        self._dead = dead
        self._removed: set[str] = set()
        self._left: dict[str, int] = {}
        """How many uses remain, of values that lost one."""
        self._detached: dict[str, set[str]] = {}
        """Per tuple of the ordering, the values taken out of it."""
        self._inherits: set[str] = set()
        """States that stand in for a skipped one, and so are read where that was."""
        self._edit = Edit(model)

    def run(self, primitives_before: set[str]) -> None:
        pending = deque(sorted(self._dead, key=self._position, reverse=True))
        while pending:
            name = pending.popleft()
            node = self._model.producer(name)
            if node is None or name in self._removed:
                continue
            if name in self._dead:
                self._detach(name)
            if self._count(name) or name in self._inherits:
                continue
            self._remove(node)
            pending.extend(i for i in node.inputs if i not in self._removed and i not in self._dead)
            # A value of the region may have waited for this reader to go.
            pending.extend(i for i in node.inputs if i in self._dead)
        self._edit.remove = self._removed
        for name, gone in self._detached.items():
            if name not in self._removed:
                self._edit.replace[name] = self._shorter(name, gone)
        used = {node.reference for node in self._model.nodes if node.name not in self._removed}
        known = primitives_before & set(self._model.primitives)
        self._edit.drop_primitives = {reference for reference in known if reference not in used}
        self._edit.apply()

    def _position(self, name: str) -> int:
        node = self._model.producer(name)
        return -1 if node is None else node.index

    def _count(self, name: str) -> int:
        count = self._left.get(name)
        return len(self._model.uses(name)) if count is None else count

    def _remove(self, node: Node) -> None:
        """Take the node out, and with it its uses."""
        if node.name in self._removed:
            return
        self._removed.add(node.name)
        gone = self._detached.get(node.name, set())
        for value in node.inputs:
            if value not in gone:
                self._left[value] = self._count(value) - 1

    def _detach(self, name: str) -> None:
        """Take a value out of the ordering of effects, if that is all that reads it."""
        readers: list[Node] = []
        for use in self._model.uses(name):
            if use.node is None:
                return
            if use.node.name in self._removed or name in self._detached.get(use.node.name, ()):
                continue
            if not only_orders(self._model, use.node):
                return
            readers.append(use.node)
        for node in readers:
            if orders_effects(node):
                self._skip(node)
                continue
            gone = self._detached.setdefault(node.name, set())
            if name in gone:  # it stands in the tuple twice
                continue
            gone.add(name)
            self._left[name] = self._count(name) - node.inputs.count(name)
            if gone.issuperset(node.inputs):
                for use in self._model.uses(node.name):
                    if use.node is not None:
                        self._skip(use.node)
                self._remove(node)

    def _skip(self, update: Node) -> None:
        self._edit.rename[update.name] = update.inputs[0]
        self._inherits.add(update.inputs[0])
        self._remove(update)

    def _shorter(self, name: str, gone: set[str]) -> NodeProto:
        node = self._model.producer(name)
        assert node is not None
        message = NodeProto()
        message.CopyFrom(node.proto)
        kept = [i for i, value in enumerate(node.inputs) if value not in gone]
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
