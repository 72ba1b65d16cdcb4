"""What goes by pictures of outlines, poses, depths: Stable Diffusion and XL with ControlNets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from attnfuse_runtime.errors import PipelineError
from attnfuse_runtime.families.base import Moment
from attnfuse_runtime.families.courses import for_rows
from attnfuse_runtime.families.pictures import (
    StableDiffusionImageToImage,
    StableDiffusionInpainting,
    StableDiffusionXLImageToImage,
    StableDiffusionXLInpainting,
)
from attnfuse_runtime.families.stable_diffusion import StableDiffusion, StableDiffusionXL
from attnfuse_runtime.noise import Array
from attnfuse_runtime.rows import run_rows

_CONTROLNET = "controlnet"


class Controlled(StableDiffusion):
    """The UNet takes what ControlNets make of the same latents and texts; of several the sum."""

    TAKES: ClassVar[tuple[str, ...]] = ("control_image",)
    GRAPHS: ClassVar[tuple[str, ...]] = (_CONTROLNET,)
    CONTROL_SCALE: ClassVar[float] = 1.0

    @property
    def controlnets(self) -> tuple[str, ...]:
        """The ControlNets in their order: `controlnet`, `controlnet_1` and so on."""
        names, found = self.setup.pipeline.names, [_CONTROLNET]
        while (name := f"{_CONTROLNET}_{len(found)}") in names:
            found.append(name)
        return tuple(found)

    def check(self) -> None:
        """Raise PipelineError where a ControlNet takes no picture."""
        super().check()
        components = self.setup.pipeline.manifest.components
        for name in self.controlnets:
            if not any(one.name == "controlnet_cond" for one in components[name].inputs):
                raise PipelineError(f"the graph {name} takes no controlnet_cond; compile it for this pipeline.")

    def residuals(self, rows: Mapping[str, Array], same: Mapping[str, Array], moment: Moment) -> dict[str, Array]:
        """What ControlNets add at this moment; `rows` and `same` are what the UNet is given, without it."""
        found: dict[str, Array] = {}
        for name, control in zip(self.controlnets, moment.given.controls):
            component = self.setup.pipeline[name]
            takes = {one.name for one in component.component.inputs}
            scale = control.scale_at(moment.number, moment.total, self.CONTROL_SCALE)
            fed = {key: value for key, value in rows.items() if key in takes}
            fed["controlnet_cond"] = for_rows(control.picture, len(rows[self.SAMPLE]))
            with moment.clock(name):
                made = run_rows(component, fed, **same, conditioning_scale=np.asarray(scale, np.float32))
            found = {key: found[key] + value if key in found else value for key, value in made.items()}
        return found


class StableDiffusionControlled(Controlled):
    """From noise."""


class StableDiffusionXLControlled(Controlled, StableDiffusionXL):
    """From noise."""


class StableDiffusionControlledImageToImage(Controlled, StableDiffusionImageToImage):
    """From a picture."""

    TAKES = ("image", "control_image")
    GRAPHS = ("vae_encoder", _CONTROLNET)
    CONTROL_SCALE = 0.8


class StableDiffusionXLControlledImageToImage(Controlled, StableDiffusionXLImageToImage):
    """From a picture."""

    TAKES = ("image", "control_image")
    GRAPHS = ("vae_encoder", _CONTROLNET)
    STRENGTH = 0.8
    CONTROL_SCALE = 0.8


class StableDiffusionControlledInpainting(Controlled, StableDiffusionInpainting):
    """Of what a mask tells."""

    TAKES = ("image", "mask", "control_image")
    GRAPHS = ("vae_encoder", _CONTROLNET)
    CONTROL_SCALE = 0.5


class StableDiffusionXLControlledInpainting(Controlled, StableDiffusionXLInpainting):
    """Of what a mask tells."""

    TAKES = ("image", "mask", "control_image")
    GRAPHS = ("vae_encoder", _CONTROLNET)
    GUIDANCE = 5.0

    def unscaled(self, latents: Array) -> Array:
        """Without the VAE's own mean and deviation, as in mindone."""
        return StableDiffusion.unscaled(self, latents)
