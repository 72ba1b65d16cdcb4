"""Small graphs in the short text form, and the kernels that the cost model makes of them.

May import `attnfuse.cost`, the text form and the graph builder of tests/support.
"""

from __future__ import annotations

from attnfuse.cost.kernels import Kernel, Schedule, schedule
from attnfuse.cost.program import read_program
from attnfuse.ir.graph import Model
from attnfuse.ir.text.program import parse_program
from attnfuse.ir.text.table import infer, signature
from attnfuse.targets.socs import SPECIFICATIONS


def graph(text: str) -> Model:
    """The graph of a text, its types inferred by the operator table."""
    return Model(parse_program(text, infer=infer, signature=signature))


def scheduled(text: str, soc: str = "ascend910b") -> Schedule:
    """What runs of the graph on the SoC."""
    return schedule(read_program(graph(text)), SPECIFICATIONS[soc])


def tasks(text: str, soc: str = "ascend910b") -> list[Kernel]:
    """The kernels of the graph."""
    return [kernel for kernel in scheduled(text, soc).kernels if kernel.is_task]


def told(text: str, soc: str = "ascend910b") -> list[tuple[str, int, int]]:
    """Operators, bytes read and bytes written of every kernel, in the order of their names."""
    return sorted((kernel.what, kernel.bytes_read, kernel.bytes_written) for kernel in tasks(text, soc))
