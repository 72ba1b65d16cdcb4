"""What the target's tables have against the graphs of a folder: for whoever wants to know what a compilation came to.

from tests.support.launching import refusals_in
for told in refusals_in(folder, Target("lite", "ascend910b")): print(told)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attnfuse.ir.graph import Model, short_name
from attnfuse.ir.values import Values
from attnfuse.mindir import codec
from attnfuse.targets.facts import Refusal
from attnfuse.targets.limits import Target
from attnfuse.targets.nodes import node_refusals


@dataclass(frozen=True, slots=True)
class Told:
    """One refusal, with the file and node it is about."""

    file: str
    op: str
    node: str
    refusal: Refusal

    def __str__(self) -> str:
        return f"{self.file}: {self.op} {self.node}: {self.refusal.message(self.op, 'this SoC')}"


def refusals_of(model: Model, target: Target) -> Iterator[tuple[str, str, Refusal]]:
    """Operator, node and refusal, in file order."""
    values = Values(model)
    for node in model.nodes:
        for refusal in node_refusals(target, values, node):
            yield node.op, node.name, refusal


def refusals_in(folder: Path, target: Target) -> Iterator[Told]:
    """Of every .mindir file below the folder, by name."""
    for path in sorted(folder.rglob("*.mindir")):
        name = path.relative_to(folder).as_posix()
        for op, node, refusal in refusals_of(Model(codec.parse(path.read_bytes(), name)), target):
            yield Told(name, op, short_name(node), refusal)
