"""The type of the timesteps that a pipeline's scheduler hands to its denoiser.

Read in `set_timesteps` of mindone/diffusers/schedulers/*.py, and seen from those that a CPU can run. Imports nothing.
"""

from __future__ import annotations

# Those of consistency models are float64, which the embedding of timesteps turns into float32 first.
_FLOAT32 = frozenset(
    {
        "CMStochasticIterativeScheduler",
        "CosineDPMSolverMultistepScheduler",
        "DDPMWuerstchenScheduler",
        "DPMSolverSDEScheduler",
        "EDMDPMSolverMultistepScheduler",
        "EDMEulerScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
        "FlowMatchLCMScheduler",
        "HeunDiscreteScheduler",
        "IPNDMScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LMSDiscreteScheduler",
        "SCMScheduler",
        "ScoreSdeVeScheduler",
    }
)

_INT64 = frozenset(
    {
        "AmusedScheduler",
        "CogVideoXDDIMScheduler",
        "CogVideoXDPMScheduler",
        "ConsistencyDecoderScheduler",
        "DDIMInverseScheduler",
        "DDIMParallelScheduler",
        "DDIMScheduler",
        "DDPMParallelScheduler",
        "DDPMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepInverseScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "LCMScheduler",
        "PNDMScheduler",
        "RePaintScheduler",
        "SASolverScheduler",
        "TCDScheduler",
        "UnCLIPScheduler",
        "UniPCMultistepScheduler",
        "VQDiffusionScheduler",
    }
)

ASSUMED = "int64"
"""What most schedulers have, and what is taken where the scheduler is not known."""


def timestep_dtype(scheduler: str | None) -> str:
    """The type of the timesteps of a scheduler's class; `ASSUMED` for one that is not known, or none."""
    return "float32" if scheduler in _FLOAT32 else ASSUMED


def assumption(scheduler: str | None) -> str:
    """What to tell the user where the type is assumed; nothing where the scheduler is known."""
    if scheduler in _FLOAT32 or scheduler in _INT64:
        return ""
    why = "there is no scheduler beside it" if scheduler is None else f"scheduler class {scheduler} is not known"
    return (
        f"timestep is taken to be {ASSUMED}, which is assumed: {why}; where its timesteps are float32, say so with"
        " --timestep-dtype float32"
    )
