"""Which nodes of a graph an operator of the engine stands for, by its name, and where in the model they are.

A loader makes a node's `domain` its full name, and the converter hands it to the engine as the operator's, with the
operator's type behind it for `Custom`. What the engine makes of several it names by all of their names in a row, or by
the first where that is too long (GE, nn_engine/fusion/common/fusion_op_comm.cc), and what stands for one keeps its name
with something before or behind it: `…_to_v3`.
"""

from __future__ import annotations

from attnfuse.ir.graph import CONSTANT, Model, Node, short_name
from attnfuse.modules import Modules
from attnfuse.report.beside import result_nodes
from attnfuse.report.model import ComponentEntry

_START = "Default/"
"""What every full name starts with."""


class Places:
    """The nodes of one component's finished graph."""

    def __init__(self, model: Model, entry: ComponentEntry) -> None:
        """`entry` is what the report says of the component."""
        self.model, self.entry = model, entry
        self.modules = Modules(model)
        self.by_name = {node.scope: node for node in model.nodes if node.op != CONSTANT}
        self.sites: dict[str, str] = {}
        for site in entry.sites:
            named = {line.partition(" = ")[0] for line in site.region}
            of_site = (node for node in model.nodes if node.graph.name == site.graph and short_name(node.name) in named)
            self.sites.update(dict.fromkeys((node.name for node in of_site), site.id))
        for nodes in result_nodes(model, entry.sites):
            self.sites.update(dict.fromkeys((*nodes.around, *nodes.core), nodes.site))

    def named(self, operator: str) -> list[Node]:
        """The nodes that an operator of the engine stands for; none for what it made itself."""
        _, *names = operator.split(_START)
        return [node for name in names if (node := self._starting(_START + name)) is not None]

    def _starting(self, text: str) -> Node | None:
        """The node of the longest name that the text starts with; `Add-op1` is not in `Add-op12`."""
        for end in range(len(text), len(_START), -1):
            if text[:end] in self.by_name and not text[end : end + 1].isdigit():
                return self.by_name[text[:end]]
        return None

    def of(self, operator: str) -> str:
        """Where the operator's first node is: a site's id, `unet/time_embedding`, `unet/CNode_12:7`; else empty."""
        return next(map(self.place, self.named(operator)), "")

    def place(self, node: Node) -> str:
        """Where a node is."""
        site = self.sites.get(node.name)
        return site or f"{self.entry.name}/{self.modules.of(node) or short_name(node.name)}"
