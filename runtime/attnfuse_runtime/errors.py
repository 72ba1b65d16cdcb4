"""What can go wrong in a way that the caller can mend. Each message is one sentence: what, where, what to do."""

from __future__ import annotations


class AttnfuseRuntimeError(Exception):
    """Base of all errors that this package raises."""


class SchedulerError(AttnfuseRuntimeError):
    """A scheduler's configuration, or what it was asked for, is not supported or makes no sense."""


class FolderError(AttnfuseRuntimeError):
    """A folder is none that attnfuse wrote, or is not whole."""


class InputError(AttnfuseRuntimeError):
    """What a component was given is missing, too much, or of another shape or type than its graph takes."""


class BackendError(AttnfuseRuntimeError):
    """What runs a graph is not installed, does not take it, or failed."""


class PipelineError(AttnfuseRuntimeError):
    """A pipeline has no loop here, or lacks what its loop needs."""
