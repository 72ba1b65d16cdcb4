"""What runs the graphs: MindSpore Lite where there is a device, attnfuse's executor of verification elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Union

from attnfuse_runtime.backends.cpu import CpuBackend
from attnfuse_runtime.backends.lite import LiteBackend
from attnfuse_runtime.binding import Run
from attnfuse_runtime.errors import BackendError
from attnfuse_runtime.manifest import Component

Devices = Union[int, Mapping[str, int], None]
"""The device of all components, or of each by name; None leaves it to MindSpore Lite."""


class Backend(Protocol):
    """Anything that can run a component."""

    def load(self, component: Component) -> Run:
        """The graph, ready to be run any number of times. Raises BackendError where that cannot be."""


def backend(name: str, devices: Devices = None) -> Backend:
    """The backend of a name, "lite" or "cpu". Raises BackendError for another, and for a device where there is none."""
    if name == "lite":
        return LiteBackend(devices)
    if name != "cpu":
        raise BackendError(f"there is no backend {name!r}; choose 'lite' or 'cpu'.")
    if devices is not None:
        raise BackendError("the backend 'cpu' has no devices; leave them out.")
    return CpuBackend()


__all__ = ["Backend", "CpuBackend", "Devices", "LiteBackend", "backend"]
