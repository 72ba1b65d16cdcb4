"""How the corpus's models are made: small configurations with the structure of the real ones.

Worker side: imports mindone and transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as configs
from mindone import diffusers, transformers


def unet(**changes: Any) -> Callable[[], Any]:
    """A UNet of Stable Diffusion 1.5's blocks: attention in all but the innermost, 8 sites."""
    config: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 24,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return lambda: diffusers.UNet2DConditionModel(**{**config, **changes})


SDXL = unet(
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=(2, 4),
    transformer_layers_per_block=(1, 2),
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=8,
    projection_class_embeddings_input_dim=68,
)
SD21 = unet(attention_head_dim=(2, 4), use_linear_projection=True, upcast_attention=True)


def controlnet() -> Any:
    """A ControlNet of the UNet's blocks."""
    return diffusers.ControlNetModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=8,
        conditioning_embedding_out_channels=(8, 16),
    )


def vae() -> Any:
    """The autoencoder of Stable Diffusion: attention of one head in the middle."""
    return diffusers.AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=16,
    )


def vae_tiny() -> Any:
    """An autoencoder without attention."""
    return diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )


def clip(model_class: Any = None) -> Any:
    """A text encoder of CLIP, CLIPTextModel where no class is given."""
    config = configs.CLIPTextConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        projection_dim=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        eos_token_id=2,
    )
    return (model_class or transformers.CLIPTextModel)(config)


def t5() -> Any:
    """An encoder of T5: its bias is by relative position."""
    config = configs.T5Config(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=3,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        is_encoder_decoder=False,
        use_cache=False,
    )
    return transformers.T5EncoderModel(config)


def bert() -> Any:
    """BERT."""
    config = configs.BertConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        attn_implementation="eager",
    )
    return transformers.BertModel(config)


def gpt2() -> Any:
    """GPT-2."""
    config = configs.GPT2Config(
        vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=4, attn_implementation="eager"
    )
    return transformers.GPT2Model(config)


def _llama_config(config_class: Any, attention: str = "eager") -> Any:
    return config_class(
        vocab_size=64,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=16,
        attn_implementation=attention,
        pad_token_id=0,
    )


def llama(attention: str = "eager") -> Callable[[], Any]:
    """LLaMA, with that implementation of attention."""
    return lambda: transformers.LlamaModel(_llama_config(configs.LlamaConfig, attention))


def qwen2() -> Any:
    """Qwen2, of the sizes of LLaMA."""
    return transformers.Qwen2Model(_llama_config(configs.Qwen2Config))


def dit() -> Any:
    """DiT."""
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        norm_num_groups=4,
        sample_size=8,
        num_embeds_ada_norm=10,
    )


def pixart() -> Any:
    """PixArt."""
    return diffusers.PixArtTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=8,
        num_layers=1,
        norm_num_groups=4,
        cross_attention_dim=24,
        caption_channels=12,
        sample_size=8,
        use_additional_conditions=False,
    )


def sd3(**changes: Any) -> Callable[[], Any]:
    """Stable Diffusion 3's transformer."""
    config: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 24,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 20,
        "pos_embed_max_size": 16,
    }
    return lambda: diffusers.SD3Transformer2DModel(**{**config, **changes})


def flux() -> Any:
    """Flux's transformer."""
    return diffusers.FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        axes_dims_rope=(4, 4, 8),
    )


def hunyuandit() -> Any:
    """HunyuanDiT."""
    return diffusers.HunyuanDiT2DModel(
        num_attention_heads=3,
        attention_head_dim=8,
        in_channels=4,
        patch_size=2,
        sample_size=16,
        hidden_size=24,
        num_layers=2,
        cross_attention_dim=24,
        cross_attention_dim_t5=24,
        pooled_projection_dim=16,
        text_len=7,
        text_len_t5=9,
    )


def cogvideox() -> Any:
    """CogVideoX's transformer."""
    return diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=3,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=12,
        num_layers=1,
        sample_width=8,
        sample_height=8,
        sample_frames=5,
        max_text_seq_length=6,
    )


def lumina2() -> Any:
    """Lumina 2's transformer."""
    return diffusers.Lumina2Transformer2DModel(
        sample_size=16,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=4,
        num_kv_heads=2,
        multiple_of=16,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(64, 64, 64),
        cap_feat_dim=24,
    )


def sana() -> Any:
    """Sana's transformer: linear attention, and cross attention with a softmax."""
    return diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=12,
        sample_size=8,
    )


def wan() -> Any:
    """Wan's transformer."""
    return diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=16,
        ffn_dim=32,
        num_layers=1,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )


def prior() -> Any:
    """The prior of Kandinsky and unCLIP."""
    return diffusers.PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        embedding_dim=16,
        num_embeddings=7,
        additional_embeddings=4,
    )


def unet_motion() -> Any:
    """AnimateDiff's UNet."""
    return diffusers.UNetMotionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        cross_attention_dim=24,
        num_attention_heads=2,
        motion_num_attention_heads=2,
        norm_num_groups=4,
        motion_max_seq_length=8,
    )
