"""Published widths of newer models that make videos, of a picture, of frames or in parts."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tools.matrix.published.record import T5_XXL, Published
from tools.matrix.published.videos import PUBLISHED as VIDEOS

PUBLISHED: dict[str, Published] = {
    "sky_reels_2_forcing": Published(
        "SkyReels 2 1.3B, diffusion forcing",
        {"transformer": {"num_attention_heads": 12, "ffn_dim": 8960, "inject_sample_info": True}},
    ),
    "wan_text_picture": Published(
        "Wan 2.2 TI2V 5B",
        {
            "transformer": {"in_channels": 48, "out_channels": 48, "num_attention_heads": 24, "ffn_dim": 14336},
            "vae": {
                "base_dim": 160,
                "decoder_base_dim": 256,
                "in_channels": 12,
                "is_residual": True,
                "out_channels": 12,
                "patch_size": 2,
                "scale_factor_spatial": 16,
                "z_dim": 48,
            },
        },
        vae=ShapeOptions(height=64, width=96, frames=5),
    ),
    "wan_first_last": Published(
        "Wan 2.1 14B, of the first and the last frame",
        {"transformer": {**VIDEOS["wan_image"].configs["transformer"], "pos_embed_seq_len": 514}},
    ),
    "ltx_image": Published("LTX-Video 2B", {"transformer": {}}),
    "ltx_condition": Published(
        "LTX-Video 0.9.7 13B",
        {"transformer": {"attention_head_dim": 128, "cross_attention_dim": 4096}, "text_encoder": T5_XXL},
    ),
    "ltx_upsample": Published("LTX-Video 0.9.7, spatial upscaler", {"latent_upsampler": {}}),
}
