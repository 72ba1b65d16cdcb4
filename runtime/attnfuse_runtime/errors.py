"""What can go wrong in a way that the caller can mend. Each message is one sentence: what, where, what to do."""

from __future__ import annotations


class AttnfuseRuntimeError(Exception):
    """Base of all errors that this package raises."""


class SchedulerError(AttnfuseRuntimeError):
    """A scheduler's configuration, or what it was asked for, is not supported or makes no sense."""
