"""Variants of AnimateDiff, and UNets that make videos of a text, that are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import XL_TEXT_ENCODER, XL_TEXT_ENCODER_2
from tests.support.recorder import pictures, videos
from tests.support.recorder.record import PICTURE, PICTURES, Recording, varied
from tests.support.small_models import videos as small

_AS: Final = {**pictures.RECORDINGS, **videos.RECORDINGS}
_ANIMATED: Final = _AS["AnimateDiffPipeline"]
_THREE: Final = ShapeOptions(height=64, width=96, frames=3)
_TEXT: Final = varied(_ANIMATED, {"unet": small.UNET_3D})
_ZERO: Final = {"t0": 1, "t1": 2, "num_inference_steps": 5, "output_type": "np"}

RECORDINGS: Final[Mapping[str, Recording]] = {
    "AnimateDiffVideoToVideoPipeline": varied(_ANIMATED, call={"video": PICTURES}),
    "AnimateDiffVideoToVideoControlNetPipeline": varied(_AS["AnimateDiffControlNetPipeline"], call={"video": PICTURES}),
    "PIAPipeline": varied(_ANIMATED, {"unet": {**small.MOTION_UNET, "in_channels": 9}}, {"image": PICTURE}),
    "AnimateDiffSDXLPipeline": varied(
        _AS["StableDiffusionXLPipeline"],
        {
            "unet": small.XL_MOTION_UNET,
            "text_encoder": XL_TEXT_ENCODER,
            "text_encoder_2": XL_TEXT_ENCODER_2,
        },
        shapes=_THREE,
    ),
    "TextToVideoSDPipeline": _TEXT,
    "VideoToVideoSDPipeline": varied(_TEXT, call={"video": PICTURES}),
    "TextToVideoZeroPipeline": replace(_AS["StableDiffusionPipeline"], call=_ZERO, shapes=_THREE),
    "TextToVideoZeroSDXLPipeline": replace(
        _AS["StableDiffusionXLPipeline"], call=_ZERO, shapes=_THREE, scheduler="DDIMScheduler"
    ),
}
