"""What a reduction found, and the files that are written of it: for whoever is to mend what is reported.

    NAME.mindir, NAME.txt    the reduced graph, called as its component, and it as text (`attnfuse text --parse` makes
                             the graph of it again); of a graph and its rewrite that differ, `original` and `fused`
    reduction.json           what was looked for and is still so, and the command that shows it in that folder

Modules, weights and values have the names that they have in the source. Weights have no values, or drawn ones;
constants of the graph are as the source has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from attnfuse.ir.text import print_model
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from attnfuse.output import OutputStage
from attnfuse.reduction.parts import node_count
from attnfuse.version import __version__

Kind: TypeAlias = Literal["difference", "error", "refusal"]
Weights: TypeAlias = Literal["none", "drawn"]

SCHEMA: Final = "attnfuse.reduction/1"
DOCUMENT = "reduction.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """The smallest graphs that were found, by the name of their files.

    `said` is what is still so of them; `whole` counts the nodes of the source and `tried` the graphs that were looked
    at; `again` is the command that shows it. With `finished` False the search was interrupted before its end.
    """

    kind: Kind
    said: tuple[str, ...]
    graphs: Mapping[str, ModelProto]
    whole: int
    tried: int
    weights: Weights
    seed: int
    again: str
    finished: bool

    @property
    def nodes(self) -> dict[str, int]:
        """Nodes left of each graph, constants left out."""
        return {name: node_count(graph) for name, graph in self.graphs.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for a JSON encoder."""
        return {
            "schema": SCHEMA,
            "attnfuse": __version__,
            "kind": self.kind,
            "said": list(self.said),
            "nodes_of_source": self.whole,
            "nodes": self.nodes,
            "tried": self.tried,
            "finished": self.finished,
            "weights": self.weights,
            "seed": self.seed,
            "again": self.again,
        }


def write(reduction: Reduction, stage: OutputStage) -> None:
    """Write the files, all or none. Raises OutputError."""
    for name, graph in reduction.graphs.items():
        stage.write(f"{name}.mindir", [codec.serialise(graph)])
        stage.write(f"{name}.txt", [print_model(graph).encode()])
    document = json.dumps(reduction.to_json(), indent=1, ensure_ascii=False) + "\n"
    stage.write(DOCUMENT, [document.encode()])
    stage.publish()
