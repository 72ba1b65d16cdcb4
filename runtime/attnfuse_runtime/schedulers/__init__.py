"""Schedulers, from the `scheduler_config.json` of a pipeline: each held to mindone's own, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attnfuse_runtime.errors import SchedulerError
from attnfuse_runtime.schedulers.base import Scheduler
from attnfuse_runtime.schedulers.ddim import DDIMScheduler
from attnfuse_runtime.schedulers.dpm_multistep import DPMSolverMultistepScheduler
from attnfuse_runtime.schedulers.euler import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from attnfuse_runtime.schedulers.flow_match import FlowMatchEulerDiscreteScheduler
from attnfuse_runtime.schedulers.pndm import PNDMScheduler
from attnfuse_runtime.schedulers.unipc import UniPCMultistepScheduler

SCHEDULERS: Final[Mapping[str, type[Scheduler[Any]]]] = {
    kind.__name__: kind
    for kind in (
        DDIMScheduler,
        DPMSolverMultistepScheduler,
        EulerAncestralDiscreteScheduler,
        EulerDiscreteScheduler,
        FlowMatchEulerDiscreteScheduler,
        PNDMScheduler,
        UniPCMultistepScheduler,
    )
}
"""By the names that configurations have for them, which are diffusers' and mindone's."""


def from_config(config: Mapping[str, Any]) -> Scheduler[Any]:
    """The scheduler of a `scheduler_config.json`.

    Raises SchedulerError for a scheduler, or an option of it, that is not supported.
    """
    name = config.get("_class_name")
    if not isinstance(name, str) or name not in SCHEDULERS:
        raise SchedulerError(
            f"the scheduler's _class_name is {name!r}; those that there are: {', '.join(sorted(SCHEDULERS))}."
        )
    return SCHEDULERS[name].from_config(config)


__all__ = [
    "SCHEDULERS",
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "PNDMScheduler",
    "Scheduler",
    "UniPCMultistepScheduler",
    "from_config",
]
