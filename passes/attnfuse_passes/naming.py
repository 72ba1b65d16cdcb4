"""Names for sites: the module that owns the parameters behind query, key and value.

Parameter names are the model's own and are right, where scopes are not (see `attnfuse.modules`).
"""

from __future__ import annotations

from collections import deque

from attnfuse.api import Model, Modules, Node, short_name

# Names that parameters have inside the module that owns them.
_LEAVES = {"weight", "bias", "gamma", "beta", "embedding_table"}
_MAX_VISITS = 400


class SiteNames:
    """Hands out a name for each site, unique in the model, in the order they are asked for."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._modules = Modules(model)
        self._given: dict[str, int] = {}

    def of_softmax(self, softmax: Node) -> str:
        """The module nearest to a softmax that is not read as attention."""
        return self.of_values(softmax, softmax.inputs[0])

    def of_values(self, node: Node, *values: str) -> str:
        """The module that owns the parameters nearest to `values`; the node's own name where there are none."""
        owners = [owner for value in values if (owner := self._owner(value)) is not None]
        name = ".".join(_common(owners)) if owners else ""
        return self._unique(name or short_name(node.name))

    def _unique(self, name: str) -> str:
        count = self._given[name] = self._given.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _owner(self, value: str) -> list[str] | None:
        """Path of the module that holds the projection nearest to `value`."""
        seen, queue = {value}, deque([value])
        visits = 0
        while queue and visits < _MAX_VISITS:
            at = queue.popleft()
            visits += 1
            path = self._modules.weight_path(at)
            if path is not None:
                return path[:-2] if path[-1] in _LEAVES else path[:-1]
            node = self._model.producer(at)
            for name in node.inputs if node is not None else ():
                if name not in seen:
                    seen.add(name)
                    queue.append(name)
        return None


def slug(module: str) -> str:
    """A site's name as part of a node's name, where ':' and '/' mean something else."""
    return "".join(c if c.isalnum() or c in "._#" else "_" for c in module)


def _common(owners: list[list[str]]) -> list[str]:
    """What the paths share; the first path (query's) where the others lie elsewhere."""
    shared: list[str] = []
    for parts in zip(*owners, strict=False):
        if len(set(parts)) != 1:
            break
        shared.append(parts[0])
    return shared if len(shared) >= len(owners[0]) - 2 and shared else owners[0]
