"""The families of mindone pipelines that make videos, and how each sizes what it hands to its models.

One entry a family. Beside the sizes every family tells (see `families`) there are "frames" and "latent_frames".

Imports `record` of this room.
"""

from __future__ import annotations

from attnfuse.tracing.specs.record import Family, Scene, Sizes


def _video(
    scene: Scene, size: tuple[int, int], spatial: int, multiple: int, frames: tuple[int, int], *, guided: bool
) -> dict[str, int]:
    """Sizes from the defaults: height and width, pixels per latent, a multiple, frames and frames per latent."""
    height, width = scene.image(lambda: size, multiple, "the VAE's downscaling and the transformer's patches")
    count, latents = scene.latent_frames(*frames)
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=guided),
        "height": height,
        "width": width,
        "frames": count,
        "latent_height": height // spatial,
        "latent_width": width // spatial,
        "latent_frames": latents,
    }


def _vae_scale(scene: Scene) -> int:
    return 2 ** (len(scene.numbers("block_out_channels", "vae")) - 1) if scene.has("vae") else 8


def _cogvideox(scene: Scene) -> Sizes:
    """Height, width and frames: the transformer's `sample_height`, `sample_width` × 8, `sample_frames`. Tokens: 226.

    Four frames make one latent. Guided.
    """
    spatial = _vae_scale(scene)
    size, frames = (480, 720), 49
    if scene.has("transformer"):
        size = (
            scene.number("sample_height", "transformer") * spatial,
            scene.number("sample_width", "transformer") * spatial,
        )
        frames = scene.number("sample_frames", "transformer")
    temporal = scene.number("temporal_compression_ratio", "vae", 4)
    patch = scene.number("patch_size", "transformer", 2)
    sizes = _video(scene, size, spatial, spatial * patch, (frames, temporal), guided=True)
    return {**sizes, "tokens": scene.text(scene.number("max_text_seq_length", "transformer", 226))}


def _ltx(scene: Scene) -> Sizes:
    """Height and width: 512 × 704, 161 frames; one latent of 8 frames, 32 × 32 pixels each. Tokens: 128. Guided.

    Latents are packed into "video_tokens".
    """
    spatial = scene.number("spatial_compression_ratio", "vae", 32)
    temporal = scene.number("temporal_compression_ratio", "vae", 8)
    sizes = _video(scene, (512, 704), spatial, spatial, (161, temporal), guided=True)
    tokens = sizes["latent_frames"] * sizes["latent_height"] * sizes["latent_width"]
    return {**sizes, "spatial": spatial, "temporal": temporal, "video_tokens": tokens, "tokens": scene.text(128)}


def _wan(scene: Scene) -> Sizes:
    """Height and width: 480 × 832, 81 frames; four frames make one latent. Tokens: 512.

    With and without the prompt are two calls: rows are not doubled.
    """
    spatial = scene.number("scale_factor_spatial", "vae", 8)
    temporal = scene.number("scale_factor_temporal", "vae", 4)
    sizes = _video(scene, (480, 832), spatial, 2 * spatial, (81, temporal), guided=False)
    return {**sizes, "tokens": scene.text(512)}


def _hunyuan_video(scene: Scene) -> Sizes:
    """Height and width: 720 × 1280, 129 frames; four frames make one latent. Tokens: 256; CLIP's 77 are pooled.

    The text encoder sees 95 more, the template's, which are cut off. Not doubled: guidance is an input.
    """
    spatial = scene.number("spatial_compression_ratio", "vae", 8)
    temporal = scene.number("temporal_compression_ratio", "vae", 4)
    patch = scene.number("patch_size", "transformer", 2)
    sizes = _video(scene, (720, 1280), spatial, spatial * patch, (129, temporal), guided=False)
    tokens = scene.text(256)
    return {**sizes, "tokens": tokens, "text_encoder_tokens": tokens + 95, "text_encoder_2_tokens": 77}


def _mochi(scene: Scene) -> Sizes:
    """Height and width: 480 × 848, 19 frames; six frames make one latent. Tokens: 256. Guided."""
    patch = scene.number("patch_size", "transformer", 2)
    sizes = _video(scene, (480, 848), 8, 8 * patch, (19, 6), guided=True)
    return {**sizes, "tokens": scene.text(256)}


def _latte(scene: Scene) -> Sizes:
    """Height, width and frames: the transformer's `sample_size` × the VAE's downscaling, `video_length`.

    Every frame has latents of its own. Tokens: 120, the most; the pipeline cuts what the prompt does not use. Guided.
    """
    spatial = _vae_scale(scene)
    side, frames = 512, 16
    if scene.has("transformer"):
        side = scene.number("sample_size", "transformer") * spatial
        frames = scene.number("video_length", "transformer", 16)
    patch = scene.number("patch_size", "transformer", 2)
    sizes = _video(scene, (side, side), spatial, spatial * patch, (frames, 1), guided=True)
    return {**sizes, "tokens": scene.text(120)}


def _animate_diff(scene: Scene) -> Sizes:
    """Height and width: the UNet's `sample_size` × the VAE's downscaling, 16 frames, each with latents of its own.

    Tokens: as many as the tokenizer fills a text up to (77), given to every frame ("text_rows"). Guided.
    """
    spatial = _vae_scale(scene)
    side = scene.number("sample_size", "unet") * spatial if scene.has("unet") else 512
    sizes = _video(scene, (side, side), spatial, spatial, (16, 1), guided=True)
    return {**sizes, "tokens": scene.text_filled("text_encoder"), "text_rows": sizes["rows"] * sizes["frames"]}


def _stable_video(scene: Scene) -> Sizes:
    """Height and width: 576 × 1024, the UNet's `num_frames`, each with latents of its own. The picture is one token.

    Guided.
    """
    spatial = _vae_scale(scene)
    frames = scene.number("num_frames", "unet", 25)
    return {**_video(scene, (576, 1024), spatial, spatial, (frames, 1), guided=True), "tokens": 1}


def _i2vgen(scene: Scene) -> Sizes:
    """Height and width: 704 × 1280, 16 frames, each with latents of its own.

    Tokens: as many as the tokenizer fills a text up to (77). Guided.
    """
    spatial = _vae_scale(scene)
    return {
        **_video(scene, (704, 1280), spatial, spatial, (16, 1), guided=True),
        "tokens": scene.text_filled("text_encoder"),
    }


def _allegro(scene: Scene) -> Sizes:
    """Height, width: the transformer's `sample_height`, `sample_width` × the VAE's downscaling.

    Frames: its `sample_frames` × 4; four make one latent. Tokens: 512. Guided.
    """
    spatial, temporal = _vae_scale(scene), scene.number("temporal_compression_ratio", "vae", 4)
    size, latents = (720, 1280), 22
    if scene.has("transformer"):
        size = (
            scene.number("sample_height", "transformer") * spatial,
            scene.number("sample_width", "transformer") * spatial,
        )
        latents = scene.number("sample_frames", "transformer")
    patch = scene.number("patch_size", "transformer", 2)
    height, width = scene.image(lambda: size, spatial * patch, "the VAE's downscaling and the transformer's patches")
    frames = scene.shapes.frames or latents * temporal
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "height": height,
        "width": width,
        "frames": frames,
        "latent_height": height // spatial,
        "latent_width": width // spatial,
        # As its `prepare_latents`: an odd one has a latent of its own.
        "latent_frames": -(-(frames - frames % 2) // temporal) + frames % 2,
        "tokens": scene.text(512),
    }


def _cosmos(scene: Scene) -> Sizes:
    """Height and width: 704 × 1280, 121 frames; eight frames make one latent. Tokens: 512.

    Cosmos2: a picture of 768 × 1360, or 93 frames; four make one latent. With and without the prompt are two calls:
    rows are not doubled.
    """
    second = scene.pipeline.class_name.startswith("Cosmos2")
    told = ("scale_factor_spatial", "scale_factor_temporal") if second else _RATIOS
    spatial, temporal = scene.number(told[0], "vae", 8), scene.number(told[1], "vae", 4 if second else 8)
    pictures = scene.pipeline.class_name == "Cosmos2TextToImagePipeline"
    size, frames = ((768, 1360), 1) if pictures else ((704, 1280), 93 if second else 121)
    sizes = _video(scene, size, spatial, 2 * spatial, (frames, temporal), guided=False)
    return {**sizes, "tokens": scene.text(512)}


_RATIOS = ("spatial_compression_ratio", "temporal_compression_ratio")
"""What those autoencoders call pixels and frames per latent."""


def _sky_reels_2(scene: Scene) -> Sizes:
    """Height and width: 544 × 960, 97 frames; four frames make one latent. Tokens: 512.

    With and without the prompt are two calls: rows are not doubled.
    """
    spatial = scene.number("scale_factor_spatial", "vae", 8)
    temporal = scene.number("scale_factor_temporal", "vae", 4)
    sizes = _video(scene, (544, 960), spatial, 2 * spatial, (97, temporal), guided=False)
    return {**sizes, "tokens": scene.text(512)}


def _kandinsky_5(scene: Scene) -> Sizes:
    """Height and width: 512 × 768, 121 frames; four frames make one latent. Tokens: 512, the most.

    The pipeline hands over as many as the prompt has. With and without it are two calls: rows are not doubled.
    """
    spatial, temporal = scene.number(_RATIOS[0], "vae", 8), scene.number(_RATIOS[1], "vae", 4)
    sizes = _video(scene, (512, 768), spatial, 2 * spatial, (121, temporal), guided=False)
    return {**sizes, "tokens": scene.text(512), "text_encoder_2_tokens": 77}


def _consis_id(scene: Scene) -> Sizes:
    """Height and width: 480 × 720, 49 frames; four frames make one latent. Tokens: 226. Guided."""
    spatial = _vae_scale(scene)
    patch = scene.number("patch_size", "transformer", 2)
    temporal = scene.number("temporal_compression_ratio", "vae", 4)
    sizes = _video(scene, (480, 720), spatial, spatial * patch, (49, temporal), guided=True)
    return {**sizes, "tokens": scene.text(scene.number("max_text_seq_length", "transformer", 226))}


def _easy_animate(scene: Scene) -> Sizes:
    """Height and width: 512, 49 frames; four frames make one latent. Tokens: 256. Guided."""
    sizes = _video(scene, (512, 512), 8, 16, (49, 4), guided=True)
    return {**sizes, "tokens": scene.text(256)}


COGVIDEOX = Family(
    "CogVideoX",
    ("CogVideoXPipeline", "CogVideoXImageToVideoPipeline", "CogVideoXVideoToVideoPipeline"),
    "cogvideo/pipeline_cogvideox.py",
    _cogvideox,
)
ALLEGRO = Family("Allegro", ("AllegroPipeline",), "allegro/pipeline_allegro.py", _allegro)
LTX = Family("LTX-Video", ("LTXPipeline",), "ltx/pipeline_ltx.py", _ltx)
WAN = Family(
    "Wan",
    ("WanPipeline", "WanImageToVideoPipeline", "WanVideoToVideoPipeline", "WanVACEPipeline"),
    "wan/pipeline_wan.py",
    _wan,
    aside=(),  # the picture of a video passes through its image encoder
)
HUNYUAN_VIDEO = Family(
    "HunyuanVideo", ("HunyuanVideoPipeline",), "hunyuan_video/pipeline_hunyuan_video.py", _hunyuan_video
)
MOCHI = Family("Mochi", ("MochiPipeline",), "mochi/pipeline_mochi.py", _mochi)
LATTE = Family("Latte", ("LattePipeline",), "latte/pipeline_latte.py", _latte)
ANIMATE_DIFF = Family(
    "AnimateDiff",
    ("AnimateDiffPipeline", "AnimateDiffControlNetPipeline", "AnimateDiffSparseControlNetPipeline"),
    "animatediff/pipeline_animatediff.py",
    _animate_diff,
)
STABLE_VIDEO = Family(
    "Stable Video Diffusion",
    ("StableVideoDiffusionPipeline",),
    "stable_video_diffusion/pipeline_stable_video_diffusion.py",
    _stable_video,
    aside=(),
)
I2VGEN = Family("I2VGen-XL", ("I2VGenXLPipeline",), "i2vgen_xl/pipeline_i2vgen_xl.py", _i2vgen, aside=())

COSMOS = Family(
    "Cosmos",
    (
        "CosmosTextToWorldPipeline",
        "CosmosVideoToWorldPipeline",
        "Cosmos2TextToImagePipeline",
        "Cosmos2VideoToWorldPipeline",
    ),
    "cosmos/pipeline_cosmos_text2world.py",
    _cosmos,
)
SKY_REELS_2 = Family(
    "SkyReels 2",
    ("SkyReelsV2Pipeline", "SkyReelsV2ImageToVideoPipeline"),
    "skyreels_v2/pipeline_skyreels_v2.py",
    _sky_reels_2,
    aside=(),
)
KANDINSKY_5 = Family("Kandinsky 5", ("Kandinsky5T2VPipeline",), "kandinsky5/pipeline_kandinsky.py", _kandinsky_5)
CONSIS_ID = Family("ConsisID", ("ConsisIDPipeline",), "consisid/pipeline_consisid.py", _consis_id)
EASY_ANIMATE = Family("EasyAnimate", ("EasyAnimatePipeline",), "easyanimate/pipeline_easyanimate.py", _easy_animate)

VIDEOS = (
    COGVIDEOX,
    ALLEGRO,
    LTX,
    WAN,
    HUNYUAN_VIDEO,
    MOCHI,
    LATTE,
    ANIMATE_DIFF,
    STABLE_VIDEO,
    I2VGEN,
    COSMOS,
    SKY_REELS_2,
    KANDINSKY_5,
    CONSIS_ID,
    EASY_ANIMATE,
)
"""Every family of this module."""
