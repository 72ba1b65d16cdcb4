"""What is looked for: the passes end in the same error, of the same class and from the same place in the code.

The place is that of the first cause: the innermost line that is no library's, as those are called from everywhere. An
error with a sentence for the user (`AttnfuseError`) has the same sentence besides, but for numbers: they count what the
graph has, and are in the names of its values. What any other exception says is left out.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from attnfuse.component import Component
from attnfuse.errors import AttnfuseError
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from attnfuse.pass_manager import Pass
from attnfuse.policy import Policy
from attnfuse.rewriting import rewrite
from attnfuse.targets import Target

_LIBRARIES = {"google", "ml_dtypes", "networkx", "numpy", "pydantic", "pydantic_core"}


@dataclass(frozen=True, slots=True)
class Failure:
    """How a compile ended: `said` is for people, `key` is equal where two are the same error."""

    said: str
    key: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, error: Exception) -> Self:
        """The failure that an exception is."""
        kind = type(error).__name__
        if isinstance(error, AttnfuseError):
            return cls(str(error), (kind, _place(error), re.sub(r"\d+", "0", str(error))))
        return cls(f"{kind}: {error}", (kind, _place(error)))


def _place(error: BaseException) -> str:
    """Module, function and line of the first cause; "" of a recursion without end, which may stop anywhere."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, RecursionError):
        return ""
    frames = [
        (frame.f_globals.get("__name__", ""), frame, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [found for found in frames if not _is_library(found[0])]
    name, frame, line = (own or frames)[-1]
    return f"{name}.{frame.f_code.co_qualname}, line {line}"


def _is_library(module: str) -> bool:
    package = module.partition(".")[0]
    return package in _LIBRARIES or package in sys.stdlib_module_names


@dataclass(frozen=True, slots=True)
class Compile:
    """The passes over a component, in this process; nothing is written."""

    component: Component
    policy: Policy
    target: Target
    passes: Sequence[Pass]

    def failure(self) -> Failure | None:
        """How it ends with the component as it is; None where it ends well."""
        return self._failure(self.component)

    def failure_of(self, graph: ModelProto) -> Failure | None:
        """How it ends with another graph in the component's place, whose weights are in it, or have no values."""
        own = self.component
        return self._failure(
            Component(
                name=own.name, owner=own.owner, where=own.where, data=codec.serialise(graph), graph_name=own.graph_name
            )
        )

    def _failure(self, component: Component) -> Failure | None:
        try:
            rewrite(component, self.policy, self.target, self.passes)
        except Exception as error:
            return Failure.of(error)
        return None
