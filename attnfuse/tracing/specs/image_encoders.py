"""What makes embeddings of pictures: encoders of a picture, and priors, which make them of a text.

Imports `other_families`, `record` and `video_families` of this room.
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.other_families import KANDINSKY_PRIOR
from attnfuse.tracing.specs.record import MASKED_ATTENTION, Input, Output, Refusal, Scene, Sizes, Spec
from attnfuse.tracing.specs.video_families import I2VGEN, SKY_REELS_2, STABLE_VIDEO, WAN

_PIXELS = Input("pixel_values", ("batch", "num_channels", "image_size", "image_size"))


def _picture(scene: Scene) -> Sizes:
    """Published configurations leave the channels out: transformers' default."""
    return {"num_channels": scene.number("num_channels", default=3)}


_CLIP_VISION = Spec(
    class_name="CLIPVisionModelWithProjection",
    library="transformers",
    families=(STABLE_VIDEO, I2VGEN),
    models=("image_encoder",),
    source="stable_video_diffusion/pipeline_stable_video_diffusion.py",
    inputs=(_PIXELS,),
    outputs=(Output("image_embeds"),),
    sizes=_picture,
)

_CLIP_VISION_PRIOR = replace(
    _CLIP_VISION,
    families=(KANDINSKY_PRIOR,),
    source="kandinsky/pipeline_kandinsky_prior.py",
    inputs=(replace(_PIXELS, shape=(1, *_PIXELS.shape[1:])),),  # one picture at a time, or a black one
)


_CLIP_VISION_WAN = replace(
    _CLIP_VISION,
    class_name="CLIPVisionModel",
    families=(WAN,),
    source="wan/pipeline_wan_i2v.py",
    inputs=(replace(_PIXELS, shape=(1, *_PIXELS.shape[1:]), note="the picture; a last one is another call"),),
    outputs=(Output("image_embeds", "result[2][-2]"),),
    fixed={"output_hidden_states": True, "return_dict": False},
)


_CLIP_VISION_SKY_REELS = replace(
    _CLIP_VISION_WAN,
    class_name="CLIPVisionModelWithProjection",
    families=(SKY_REELS_2,),
    source="skyreels_v2/pipeline_skyreels_v2_i2v.py",
)


def _prior_sizes(scene: Scene) -> Sizes:
    return {"projected": scene.number("embedding_proj_dim", default=scene.number("embedding_dim"))}


_PRIOR = Spec(
    class_name="PriorTransformer",
    library="diffusers",
    families=(KANDINSKY_PRIOR,),
    models=("prior",),
    source="kandinsky/pipeline_kandinsky_prior.py",
    inputs=(
        Input("hidden_states", ("rows", "embedding_dim")),
        Input("timestep", (), "timestep"),
        Input("proj_embedding", ("rows", "projected")),
        Input("encoder_hidden_states", ("rows", "tokens", "embedding_dim")),
        Input("attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's"),
    ),
    outputs=(Output("predicted_image_embedding"),),
    sizes=_prior_sizes,
    refuse=(Refusal("encoder_hid_proj_type", ("linear",)), Refusal("added_emb_type", ("prd",))),
    stand_ins=(MASKED_ATTENTION,),
)

SPECS = (_CLIP_VISION, _CLIP_VISION_PRIOR, _CLIP_VISION_WAN, _CLIP_VISION_SKY_REELS, _PRIOR)
