"""The autoencoders of videos, and Qwen-Image's, which is one of them: one entry a class and direction."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION, ONE_TILE, UNCHUNKED, WHOLE_VIDEO
from attnfuse.tracing.specs.pictures.qwen_image import QWEN_IMAGE, QWEN_IMAGE_EDIT, encoded_picture
from attnfuse.tracing.specs.record import Input, Output, no_sizes
from attnfuse.tracing.specs.shared.vaes import KL_DECODER, KL_ENCODER, upcast_half
from attnfuse.tracing.specs.videos.allegro import ALLEGRO
from attnfuse.tracing.specs.videos.cogvideox import COGVIDEOX, CONSIS_ID
from attnfuse.tracing.specs.videos.cosmos import COSMOS
from attnfuse.tracing.specs.videos.easy_animate import EASY_ANIMATE
from attnfuse.tracing.specs.videos.hunyuan_video import HUNYUAN_VIDEO
from attnfuse.tracing.specs.videos.kandinsky_5 import KANDINSKY_5
from attnfuse.tracing.specs.videos.ltx import LTX
from attnfuse.tracing.specs.videos.mochi import MOCHI
from attnfuse.tracing.specs.videos.stable_video import STABLE_VIDEO
from attnfuse.tracing.specs.videos.wan import SKY_REELS_2, WAN


def _frame_sizes(context: SpecContext) -> Sizes:
    """Pictures of all videos."""
    return {"images": context.sizes["batch"] * context.sizes["frames"]}


_TEMPORAL_DECODER = replace(
    KL_DECODER,
    class_name="AutoencoderKLTemporalDecoder",
    families=(STABLE_VIDEO,),
    source="stable_video_diffusion/pipeline_stable_video_diffusion.py",
    inputs=(
        Input(
            "latents",
            ("images", "latent_channels", "latent_height", "latent_width"),
            to="z",
            note="every frame's; `decode_chunk_size` is all of them by default",
        ),
    ),
    outputs=(Output("frames"),),
    sizes=_frame_sizes,
    constants=lambda context: {"num_frames": context.sizes["frames"]},
)

_TEMPORAL_ENCODER = replace(
    KL_ENCODER,
    class_name="AutoencoderKLTemporalDecoder",
    families=(STABLE_VIDEO,),
    source="stable_video_diffusion/pipeline_stable_video_diffusion.py",
    dtype=upcast_half,  # to encode, not to decode
)

_VIDEO_LATENTS = Input(
    "latents", ("batch", "latent_channels", "latent_frames", "latent_height", "latent_width"), to="z"
)

_VIDEO = (Output("video"),)

_COGVIDEOX_DECODER = replace(
    KL_DECODER,
    class_name="AutoencoderKLCogVideoX",
    families=(COGVIDEOX, CONSIS_ID),
    source="cogvideo/pipeline_cogvideox.py",
    inputs=(_VIDEO_LATENTS,),
    outputs=_VIDEO,
)


def _enlarged(context: SpecContext) -> Sizes:
    factor = 2 if context.runs("LTXLatentUpsamplePipeline") else 1
    return {f"decoded_{side}": factor * context.sizes[f"latent_{side}"] for side in ("height", "width")}


_LTX_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLLTXVideo",
    families=(LTX,),
    source="ltx/pipeline_ltx.py",
    inputs=(
        replace(
            _VIDEO_LATENTS,
            shape=("batch", "latent_channels", "latent_frames", "decoded_height", "decoded_width"),
            note="twice as high and wide where the pipeline makes them larger (LTXLatentUpsample)",
        ),
        Input(
            "timestep",
            ("batch",),
            to="temb",
            when=lambda context: bool(context.option("timestep_conditioning", False)),
            only="timestep_conditioning is set (0.9.1 and later)",
            note="how much noise the latents were given: `decode_timestep`",
        ),
    ),
    sizes=_enlarged,
)

_HUNYUAN_VIDEO_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLHunyuanVideo",
    families=(HUNYUAN_VIDEO, KANDINSKY_5),
    source="hunyuan_video/pipeline_hunyuan_video.py",
    patches=(MASKED_ATTENTION,),
)

_VIDEO_ENCODER = replace(
    KL_ENCODER,
    sizes=no_sizes,
    inputs=(Input("video", ("batch", "in_channels", "frames", "height", "width"), to="x"),),
)


def _encoded_frames(context: SpecContext) -> Sizes:
    """Of a video all, of a picture one."""
    of_picture = context.runs(
        "CogVideoXImageToVideoPipeline",
        "ConsisIDPipeline",
        "LTXImageToVideoPipeline",
        "LTXConditionPipeline",
        "HunyuanSkyreelsImageToVideoPipeline",
        "HunyuanVideoImageToVideoPipeline",
    )
    return {"encoded_frames": 1 if of_picture else context.sizes["frames"]}


_COGVIDEOX_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLCogVideoX",
    families=(COGVIDEOX, CONSIS_ID),
    source="cogvideo/pipeline_cogvideox_video2video.py",
    inputs=(
        Input(
            "video",
            ("batch", "in_channels", "encoded_frames", "height", "width"),
            to="x",
            note="one frame where the pipeline is given a picture",
        ),
    ),
    sizes=_encoded_frames,
)

_LTX_ENCODER = replace(
    _COGVIDEOX_ENCODER,
    class_name="AutoencoderKLLTXVideo",
    families=(LTX,),
    source="ltx/pipeline_ltx_condition.py",
)

_HUNYUAN_VIDEO_ENCODER = replace(
    _COGVIDEOX_ENCODER,
    class_name="AutoencoderKLHunyuanVideo",
    families=(HUNYUAN_VIDEO, KANDINSKY_5),
    source="hunyuan_video/pipeline_hunyuan_video_image2video.py",
    patches=(MASKED_ATTENTION,),
)

_MOCHI_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLMochi",
    families=(MOCHI,),
    source="mochi/pipeline_mochi.py",
    patches=(UNCHUNKED,),
)

_MAGVIT = "its convolutions keep the frames of the piece before in a member of the model, and delete it"

_MAGVIT_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLMagvit",
    families=(EASY_ANIMATE,),
    source="easyanimate/pipeline_easyanimate.py",
    broken=_MAGVIT,
)

_MAGVIT_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLMagvit",
    families=(EASY_ANIMATE,),
    source="easyanimate/pipeline_easyanimate_inpaint.py",
    broken=_MAGVIT,
)

_COSMOS_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLCosmos",
    families=(COSMOS,),
    source="cosmos/pipeline_cosmos_text2world.py",
)

_COSMOS_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLCosmos",
    families=(COSMOS,),
    source="cosmos/pipeline_cosmos_video2world.py",
    outputs=(Output("latents"),),
)


def _tile_sizes(context: SpecContext) -> Sizes:
    """A tile is of 24 frames and `sample_size` square pixels."""
    side = context.number("sample_size")
    return {
        "tile_frames": _ALLEGRO_TILE_FRAMES,
        "tile_side": side,
        "tile_latent_frames": _ALLEGRO_TILE_FRAMES // context.number("temporal_compression_ratio"),
        "tile_latent_side": side // 2 ** (len(context.numbers("block_out_channels")) - 1),
    }


_ALLEGRO_TILE_FRAMES = 24
"""`sample_frames` in AutoencoderKLAllegro."""

_ALLEGRO_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLAllegro",
    families=(ALLEGRO,),
    component="{model}_decoder_tile",
    source="allegro/pipeline_allegro.py",
    inputs=(
        replace(
            _VIDEO_LATENTS,
            shape=("batch", "latent_channels", "tile_latent_frames", "tile_latent_side", "tile_latent_side"),
            note="one tile; to cut and to blend tiles is the caller's",
        ),
    ),
    sizes=_tile_sizes,
    patches=(ONE_TILE,),
)

_ALLEGRO_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLAllegro",
    families=(ALLEGRO,),
    component="{model}_encoder_tile",
    source="allegro/pipeline_allegro.py",
    inputs=(
        Input(
            "video",
            ("batch", "in_channels", "tile_frames", "tile_side", "tile_side"),
            to="x",
            note="one tile; to cut and to blend tiles is the caller's",
        ),
    ),
    sizes=_tile_sizes,
    patches=(ONE_TILE,),
)

# The pipelines let it work through a video in pieces; here it goes through at once: see the patch.
_WAN_DECODER = replace(
    _COGVIDEOX_DECODER,
    class_name="AutoencoderKLWan",
    families=(WAN, SKY_REELS_2, COSMOS),
    source="wan/pipeline_wan.py",
    inputs=(
        replace(
            _VIDEO_LATENTS,
            shape=("batch", "z_dim", "latent_frames", "latent_height", "latent_width"),
            note="all at once, which takes more memory than the pieces that mindone decodes",
        ),
    ),
    patches=(WHOLE_VIDEO,),
)


def _wan_encoded_frames(context: SpecContext) -> Sizes:
    """`overlap_history` has no default; 17 is what its documentation recommends."""
    if context.runs("SkyReelsV2DiffusionForcingVideoToVideoPipeline"):
        return {"encoded_frames": 17}
    apart = context.runs("WanImageToVideoPipeline") and context.pipeline.options.get("expand_timesteps")
    one = apart or context.runs("SkyReelsV2DiffusionForcingImageToVideoPipeline")
    return {"encoded_frames": 1 if one else context.sizes["frames"]}


_WAN_ENCODER = replace(
    _VIDEO_ENCODER,
    class_name="AutoencoderKLWan",
    families=(WAN, SKY_REELS_2, COSMOS),
    source="wan/pipeline_wan_video2video.py",
    inputs=(
        Input(
            "video",
            ("batch", 3, "encoded_frames", "height", "width"),
            to="x",
            note="one frame where the pipeline has expand_timesteps or starts from a picture by diffusion forcing; the"
            " 17 that it continues where that continues a film",
        ),
    ),
    sizes=_wan_encoded_frames,
    patches=(WHOLE_VIDEO,),
)

_QWEN_DECODER = replace(
    _WAN_DECODER,
    class_name="AutoencoderKLQwenImage",
    families=(QWEN_IMAGE, QWEN_IMAGE_EDIT),
    source="qwenimage/pipeline_qwenimage.py",
    inputs=(replace(_VIDEO_LATENTS, shape=("batch", "z_dim", 1, "latent_height", "latent_width")),),
)

_QWEN_ENCODER = replace(
    _WAN_ENCODER,
    class_name="AutoencoderKLQwenImage",
    families=(QWEN_IMAGE, QWEN_IMAGE_EDIT),
    source="qwenimage/pipeline_qwenimage_img2img.py",
    inputs=(
        Input(
            "image",
            ("batch", 3, 1, "encoded_height", "encoded_width"),
            to="x",
            note="a video of one frame; in Edit the picture that is edited",
        ),
    ),
    sizes=encoded_picture,
)

SPECS = (
    _TEMPORAL_DECODER,
    _TEMPORAL_ENCODER,
    _COGVIDEOX_DECODER,
    _COGVIDEOX_ENCODER,
    _LTX_DECODER,
    _LTX_ENCODER,
    _HUNYUAN_VIDEO_DECODER,
    _HUNYUAN_VIDEO_ENCODER,
    _MOCHI_DECODER,
    _MAGVIT_DECODER,
    _MAGVIT_ENCODER,
    _COSMOS_DECODER,
    _COSMOS_ENCODER,
    _WAN_DECODER,
    _WAN_ENCODER,
    _QWEN_DECODER,
    _QWEN_ENCODER,
    _ALLEGRO_DECODER,
    _ALLEGRO_ENCODER,
)
