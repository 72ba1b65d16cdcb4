"""Runs what attnfuse compiled, with neither MindSpore nor mindone: see docs/runtime.md of attnfuse."""

from attnfuse_runtime.errors import AttnfuseRuntimeError
from attnfuse_runtime.pipeline import Pipeline

__version__ = "0.1.0"

__all__ = ["AttnfuseRuntimeError", "Pipeline", "__version__"]
