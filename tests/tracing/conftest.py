"""Makes the traced demo known to this folder's tests."""

from tests.support.traces import demo_folder, traced_demo

__all__ = ["demo_folder", "traced_demo"]
