"""What an estimate comes to, for the report: figures of one graph, and of a graph before and after.

Free of protobuf. Imports nothing of the project.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one run of a graph costs. All of it is an estimate: nothing was run on a device."""

    bytes_moved: int
    """Bytes read and written by all kernels, weights and changes of format with them."""
    kernels: int
    """Tasks of the device, but for changes of format."""
    format_changes: int
    """TransData kernels."""
    format_bytes: int
    """What of the bytes is theirs."""
    peak_bytes: int
    """Most bytes of activations alive at once, a lower bound."""
    flops: float
    """Floating point operations of products, convolutions and fused attention."""
    seconds: float
    """A lower bound: each kernel as fast as the SoC's memory or its matrix unit allows, whichever takes longer."""
    memory: tuple[int, ...] = ()
    """Bytes of activations alive over the run, the weights apart: in at most `peak.POINTS` steps of equally many
    kernels, of each the most, so that the most of all is `peak_bytes`. In front are the graph's inputs and results."""


@dataclass(frozen=True, slots=True)
class SiteNodes:
    """The nodes of a graph that one attention site is made of, by their values' names.

    `core` is the formula between the two products, or the fused node; `around` is what brings query, key and value
    into its layout, and the result out of it.
    """

    site: str
    core: frozenset[str]
    around: frozenset[str]


@dataclass(frozen=True, slots=True)
class Share:
    """What of an estimate is one site's: of the kernels that carry out a node of its core, or nothing but such around
    it. A kernel of two sites is the first one's."""

    bytes_moved: int
    kernels: int
    """Changes of format with them."""
    seconds: float


@dataclass(frozen=True, slots=True)
class SiteCost:
    """One site in the source, and in the result; None where it is not known which kernels are its own there."""

    site: str
    before: Share | None
    after: Share | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both estimates, and of them each attention site's share; or neither and the reason."""

    before: Estimate | None = None
    after: Estimate | None = None
    not_estimated: str = "no estimate was made"
    """Why there is no estimate; empty where there is one."""
    sites: tuple[SiteCost, ...] = ()

    def ratio(self, quantity: str) -> float | None:
        """After divided by before of one field of Estimate; None where there is none to divide by."""
        if self.before is None or self.after is None or not getattr(self.before, quantity):
            return None
        return float(getattr(self.after, quantity)) / float(getattr(self.before, quantity))
