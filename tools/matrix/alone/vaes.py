"""Autoencoders, alone, decoder and encoder each for itself."""

from __future__ import annotations

from collections.abc import Mapping

from tools.matrix.alone.denoisers import NO_DICT
from tools.matrix.alone.record import Alone, Config, Tensor

_KL: Config = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [16, 32],
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 16,
}
_ASYMMETRIC: Config = {
    "_class_name": "AsymmetricAutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "down_block_out_channels": [8, 16],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    "up_block_out_channels": [8, 16],
    "norm_num_groups": 4,
}
_COSMOS: Config = {
    "_class_name": "AutoencoderKLCosmos",
    "latent_channels": 4,
    "encoder_block_out_channels": [8, 8, 8, 8],
    "decode_block_out_channels": [8, 8, 8, 8],
    "attention_resolutions": [8],
    "resolution": 64,
    "num_layers": 2,
    "patch_size": 4,
    "patch_type": "haar",
    "spatial_compression_ratio": 4,
    "temporal_compression_ratio": 4,
}
_MAGVIT: Config = {
    "_class_name": "AutoencoderKLMagvit",
    "latent_channels": 4,
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 2,
}
_LATENTS = Tensor((1, 4, 8, 6), to="z")
_VIDEO_LATENTS = Tensor((1, 4, 2, 8, 6), to="z")
_IMAGE = Tensor((1, 3, 16, 12), to="x")


def _decode(config: Config, latents: Tensor) -> Alone:
    return Alone(config, {"latents": latents}, "decode", NO_DICT)


def _encode(config: Config, image: Tensor) -> Alone:
    return Alone(config, {"image": image}, "encode", NO_DICT)


ALONE: Mapping[str, Alone] = {
    "vae_asymmetric_decode": _decode(_ASYMMETRIC, _LATENTS),
    "vae_asymmetric_encode": _encode(_ASYMMETRIC, _IMAGE),
    "vae_cosmos_decode": _decode(_COSMOS, Tensor((1, 4, 2, 4, 6), to="z")),
    "vae_cosmos_encode": _encode(_COSMOS, Tensor((1, 3, 5, 32, 48), to="x")),
    "vae_magvit_decode": _decode(_MAGVIT, _VIDEO_LATENTS),
    "vae_consistency_decode": _decode(
        {
            "_class_name": "ConsistencyDecoderVAE",
            "encoder_block_out_channels": [8, 16],
            "encoder_down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
            "encoder_layers_per_block": 1,
            "encoder_norm_num_groups": 4,
            "decoder_block_out_channels": [32, 64],
            "decoder_down_block_types": ["ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"],
            "decoder_layers_per_block": 1,
            "decoder_norm_num_groups": 4,
            "decoder_num_train_timesteps": 16,
            "decoder_up_block_types": ["ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"],
        },
        _LATENTS,
    ),
}
