"""Which module of the model a value or a node belongs to, by the names of its weights.

Scopes would be simpler, but on CPU traces they are wrong: MindSpore gives nodes made by a shared helper the scope of
its first caller. Parameter names are the model's own and are right; a scope is the last resort.
"""

from __future__ import annotations

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.questions import COPIES, behind


class Modules:
    """Names of modules in a model, without the wrapper that an exported cell puts around it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        names = [p.name.rsplit(":", 1)[-1] for p in model.parameters()]
        paths = [name.split(".") for name in names if "." in name]
        self._heads = {path[0] for path in paths}
        self._wrapper = self._wrapper_prefix(paths)

    def weight_path(self, value: str) -> list[str] | None:
        """A weight's dotted name, split; weights enter functions as inputs that keep it, behind a `CR_`."""
        name = value.rsplit(":", 1)[-1].removeprefix("CR_")
        if self._model.is_parameter(value) or (self._model.is_input(value) and "." in name):
            return name.removeprefix(self._wrapper).split(".")
        return None

    def of(self, node: Node) -> str:
        """The module that holds a weight which the node takes; else that of its scope; empty where there is none."""
        for value in node.inputs:
            # A weight is read, copied or cast for the operator that uses it.
            path = self.weight_path(behind(self._model, value, COPIES))
            if path is not None:
                return ".".join(path[:-1])
        return self._scope_module(node.scope)

    def _scope_module(self, scope: str) -> str:
        """`down_blocks.0` of `Default/unet-UNet/down_blocks-CellList/0-Block/Reshape-op3`."""
        path = [part.partition("-")[0] for part in scope.split("/")[1:-1]]
        if path and (path[0] not in self._heads or f"{path[0]}." == self._wrapper):
            path = path[1:]
        return ".".join(path)

    def _wrapper_prefix(self, paths: list[list[str]]) -> str:
        """`m.` where every weight starts with it because the exported cell only wraps the model as its attribute."""
        if len(self._heads) != 1 or all(path[1].isdigit() for path in paths):
            return ""  # numbers below it: a list of blocks, which is part of the model
        segment = next(iter(self._heads))
        marker = f"Default/{segment}-"
        return f"{segment}." if any(node.scope.startswith(marker) for node in self._model.nodes) else ""
