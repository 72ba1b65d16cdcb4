"""Runs what attnfuse compiled, with neither MindSpore nor mindone: see docs/runtime.md of attnfuse."""

__version__ = "0.1.0"
