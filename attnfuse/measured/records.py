"""What a folder of measurements comes to beside an output: `attnfuse.measurement/1`, of `report --measured --json`.

Times are seconds of one run of a graph. Imports nothing of the project.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SCHEMA: Final = "attnfuse.measurement/1"


@dataclass(frozen=True, slots=True)
class KindLine:
    """Kernels of one kind in one run: as estimated, none where no estimate was made, and as the profile has them.

    `estimated_bytes` are those that the kernels move; with the measured time they tell the rate that was reached.
    """

    kind: str
    estimated_kernels: int | None
    estimated_bytes: int | None
    estimated_seconds: float | None
    measured_kernels: float | None
    measured_seconds: float | None


@dataclass(frozen=True, slots=True)
class UnknownType:
    """Operators of the profile that no kind is known for, which count as other."""

    type: str
    kernels: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A node, or an operator, that converter or engine did not take.

    `place` is a site's id or a module, empty where the log does not tell the node; `expected` is what the report says
    of it, empty where it says nothing.
    """

    place: str
    node: str
    type: str
    reason: str
    expected: str


@dataclass(frozen=True, slots=True)
class OnCpu:
    """Nodes of one operator and place that ran on the AI CPU, and what the report says of them."""

    place: str
    type: str
    kernels: float
    seconds: float
    expected: str


@dataclass(frozen=True, slots=True)
class FusionLine:
    """What the engine is counted on to fuse by a rule of docs/cost.md, and how often it says that it did.

    `assumed` is None where no estimate was made. `matched` is how often it was found, `done` how often done then.
    """

    rule: str
    what: str
    passes: tuple[str, ...]
    assumed: int | None
    matched: int
    done: int


@dataclass(frozen=True, slots=True)
class OtherFusion:
    """A pass of the engine that no rule counts on."""

    name: str
    matched: int
    done: int


@dataclass(frozen=True, slots=True)
class Aligned:
    """An output of one run beside that of the unfused graph, as align.py found it; figures are None where it had none.

    `findings` are the limits that do not hold.
    """

    file: str
    output: str
    max_abs: float | None
    cosine: float | None
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Component:
    """One component of the folder. `source` names the tables that times are from, empty where there is none.

    `fusions` and `other_fusions` are None where there is no fusion_result.json, `aligned` where there is no align.json.
    `missing` are the parts that the folder does not have, `notes` sentences about those it has.
    """

    name: str
    runs: int
    source: str
    kinds: tuple[KindLine, ...]
    unknown: tuple[UnknownType, ...]
    refused: tuple[Refused, ...]
    on_cpu: tuple[OnCpu, ...]
    fusions: tuple[FusionLine, ...] | None
    other_fusions: tuple[OtherFusion, ...] | None
    aligned: tuple[Aligned, ...] | None
    missing: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The whole folder beside the output; `board` and `versions` are what the host said of itself."""

    schema: Literal["attnfuse.measurement/1"]
    attnfuse: str
    soc: str
    board: str | None
    versions: dict[str, str]
    components: tuple[Component, ...]
    notes: tuple[str, ...]
