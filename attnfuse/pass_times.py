"""How long each pass took: `--time-passes`.

Says nothing itself: only the command line prints. Times are in no document: those are the same for the same input.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.table import Table

from attnfuse.pass_manager import Ran


@dataclass(slots=True)
class PassTimes:
    """Called after each pass: adds up, by pass, how often it ran and how long that took.

    A component runs through each pass once; one for any batch, once at each of the batches it was traced at.
    """

    runs: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, _component: str, ran: Ran) -> None:
        """Count a run."""
        name = ran.step.id
        self.runs[name] = self.runs.get(name, 0) + 1
        self.seconds[name] = self.seconds.get(name, 0.0) + ran.seconds

    def table(self) -> Table:
        """A row for each pass, in the order they ran, and the sum."""
        table = Table("pass", "runs", "seconds", "share", title="time of passes", title_justify="left", box=None)
        total = sum(self.seconds.values())
        for name, seconds in self.seconds.items():
            share = f"{seconds / total:.0%}" if total else ""
            table.add_row(name, str(self.runs[name]), f"{seconds:.3f}", share)
        table.add_row("total", str(sum(self.runs.values())), f"{total:.3f}", "")
        return table
