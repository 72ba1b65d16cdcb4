"""The encoders of a picture: one entry a class and use."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import DEVICE_CALLS, UNPOOLED
from attnfuse.tracing.specs.pictures.flux_redux import FLUX_REDUX
from attnfuse.tracing.specs.pictures.kandinsky import KANDINSKY, KANDINSKY_2_2
from attnfuse.tracing.specs.pictures.kandinsky_prior import KANDINSKY_PRIOR
from attnfuse.tracing.specs.pictures.stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.pictures.stable_diffusion_edits import (
    DEPTH_TO_IMAGE,
    IMAGE_VARIATION,
    PAINT_BY_EXAMPLE,
    STABLE_UNCLIP,
)
from attnfuse.tracing.specs.pictures.stable_diffusion_grounded import GLIGEN_PICTURES
from attnfuse.tracing.specs.pictures.unclip import UNCLIP
from attnfuse.tracing.specs.record import Input, Output, Spec
from attnfuse.tracing.specs.shared.picture_prompts import takes_pooled, takes_states
from attnfuse.tracing.specs.videos.i2vgen import I2VGEN
from attnfuse.tracing.specs.videos.stable_video import STABLE_VIDEO
from attnfuse.tracing.specs.videos.wan import SKY_REELS_2, WAN, two_pictures

_PIXELS = Input("pixel_values", ("batch", "num_channels", "image_size", "image_size"))


def _picture(context: SpecContext) -> Sizes:
    """Published configurations leave the channels out: transformers' default."""
    return {"num_channels": context.number("num_channels", default=3)}


_CLIP_VISION = Spec(
    class_name="CLIPVisionModelWithProjection",
    library="transformers",
    families=(STABLE_VIDEO, I2VGEN, IMAGE_VARIATION, STABLE_UNCLIP, UNCLIP),
    models=("image_encoder",),
    source="stable_video_diffusion/pipeline_stable_video_diffusion.py",
    inputs=(_PIXELS,),
    outputs=(Output("image_embeds"),),
    sizes=_picture,
)

# What an IP-Adapter takes: pooled, or the states of the last layer but one. A picture of zeros is run by itself.
_CLIP_VISION_IP_ADAPTER = replace(
    _CLIP_VISION,
    families=(STABLE_DIFFUSION, STABLE_DIFFUSION_XL),
    source=STABLE_DIFFUSION.source,
    inputs=(replace(_PIXELS, shape=(1, *_PIXELS.shape[1:])),),
    outputs=(
        Output("image_embeds", each=lambda context: int(takes_pooled(context))),
        Output("hidden_states", "result[2][-2]", each=lambda context: int(takes_states(context))),
    ),
    constants=lambda context: {"output_hidden_states": True} if takes_states(context) else {},
)

_CLIP_VISION_PRIOR = replace(
    _CLIP_VISION,
    families=(KANDINSKY_PRIOR, KANDINSKY, KANDINSKY_2_2, GLIGEN_PICTURES),
    models=("image_encoder", "prior_image_encoder"),
    source="kandinsky/pipeline_kandinsky_prior.py",
    inputs=(replace(_PIXELS, shape=(1, *_PIXELS.shape[1:])),),  # one picture at a time, or a black one
)

_CLIP_VISION_WAN = replace(
    _CLIP_VISION,
    class_name="CLIPVisionModel",
    families=(WAN,),
    source="wan/pipeline_wan_i2v.py",
    inputs=(
        replace(
            _PIXELS,
            shape=("pictures", *_PIXELS.shape[1:]),
            note="the picture, and the last beside it where the transformer has pos_embed_seq_len",
        ),
    ),
    sizes=lambda context: {**_picture(context), "pictures": 2 if two_pictures(context) else 1},
    outputs=(Output("image_embeds", "result[2][-2]"),),
    fixed={"output_hidden_states": True, "return_dict": False},
)

_CLIP_VISION_SKY_REELS = replace(
    _CLIP_VISION_WAN,
    class_name="CLIPVisionModelWithProjection",
    families=(SKY_REELS_2,),
    source="skyreels_v2/pipeline_skyreels_v2_i2v.py",
)

_PAINTED_EXAMPLE = replace(
    _CLIP_VISION,
    class_name="PaintByExampleImageEncoder",
    families=(PAINT_BY_EXAMPLE,),
    source=PAINT_BY_EXAMPLE.source,
    outputs=(Output("image_embeds"), Output("uncond_vector", "result[1]")),
    fixed={"return_uncond_vector": True},
)

_DEPTH = replace(
    _CLIP_VISION,
    class_name="DPTForDepthEstimation",
    families=(DEPTH_TO_IMAGE,),
    models=("depth_estimator",),
    source=DEPTH_TO_IMAGE.source,
    outputs=(Output("predicted_depth"),),
)

# The states of Siglip's patches, whatever it pools them to.
_SIGLIP = Spec(
    class_name="SiglipVisionModel",
    library="transformers",
    families=(FLUX_REDUX,),
    models=("image_encoder",),
    source="flux/pipeline_flux_prior_redux.py",
    inputs=(_PIXELS,),
    outputs=(Output("last_hidden_state"),),
    sizes=_picture,
    patches=(DEVICE_CALLS, UNPOOLED),
)

SPECS = (
    _PAINTED_EXAMPLE,
    _DEPTH,
    _SIGLIP,
    _CLIP_VISION,
    _CLIP_VISION_PRIOR,
    _CLIP_VISION_WAN,
    _CLIP_VISION_SKY_REELS,
    _CLIP_VISION_IP_ADAPTER,
)
