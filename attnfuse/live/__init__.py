"""Compiling, and tuning, a live pipeline or model from Python.

    front      compile() and tune(): the story, in the user's process
    plans      which graphs a live pipeline has, and the inputs of each
    given      the policy and the keywords, as policy rules
    settings   the attention settings found on its cells, as policy rules
    capture    traces its cells and saves its weights; the only module here that imports MindSpore
    state      leaves cells as they were
    outcome    what they return
    child      the subprocess that does the rest

A process with MindSpore in it cannot use protobuf's fast classes, so graphs are traced here and compiled in a
subprocess. Nothing here but `child` may import the compiler; nothing but `capture` is imported beside MindSpore only.
"""

from attnfuse.live.front import compile, tune  # noqa: A004  # it is what it does
from attnfuse.live.outcome import Outcome, Tuned

__all__ = ["Outcome", "Tuned", "compile", "tune"]
