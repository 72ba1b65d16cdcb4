"""The errors a user can meet, each with its exit code. This module imports nothing of the project.

A message is one sentence: what is wrong, where, and what to do about it. Only the command line prints them.
"""

from __future__ import annotations

from typing import ClassVar


class AttnfuseError(Exception):
    """Base of every error that is the user's to fix (or, for InternalError, ours)."""

    exit_code: ClassVar[int] = 70


class RequirementError(AttnfuseError):
    """`--require`, `--check` or the `--budget` of `tune` does not hold, or `reduce` finds nothing wrong."""

    exit_code = 1


class UsageError(AttnfuseError):
    """A bad argument or a bad policy."""

    exit_code = 2


class MemoryLimitError(UsageError):
    """Something takes more memory than is allowed; `needed` are the bytes, 0 where they are not told."""

    def __init__(self, message: str, needed: int = 0) -> None:
        super().__init__(message)
        self.needed = needed


class PolicyError(UsageError):
    """A policy file or policy option that cannot be understood."""


class SourceError(AttnfuseError):
    """An input that cannot be read, or is of a kind or version this tool does not support."""

    exit_code = 3


class TraceError(SourceError):
    """A component that could not be traced to a graph."""


class PluginError(AttnfuseError):
    """A plugin's pass fails, or leaves a graph that is wrong: its authors' to fix."""

    exit_code = 3


class OutputError(AttnfuseError):
    """An output place that cannot be written (reported as usage: another place must be chosen)."""

    exit_code = 2


class VerificationError(AttnfuseError):
    """The result does not mean what the input meant, or the check that should show it could not finish."""

    exit_code = 4


class InternalError(AttnfuseError):
    """A defect of attnfuse itself: an invariant of its own does not hold."""

    exit_code = 70
