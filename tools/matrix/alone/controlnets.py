"""ControlNets, alone."""

from __future__ import annotations

from collections.abc import Mapping

from tools.matrix.alone.denoisers import NO_DICT, UNET, UNET_INPUTS
from tools.matrix.alone.record import Alone, Tensor

ALONE: Mapping[str, Alone] = {
    "controlnet_xs": Alone(
        {
            "_class_name": "UNetControlNetXSModel",
            "sample_size": 16,
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "block_out_channels": [16, 32],
            "norm_num_groups": 4,
            "cross_attention_dim": 24,
            "num_attention_heads": 2,
            "ctrl_conditioning_embedding_out_channels": [8, 16],
            "ctrl_block_out_channels": [4, 8],
            "ctrl_num_attention_heads": 2,
            "ctrl_max_norm_num_groups": 4,
        },
        {**UNET_INPUTS, "controlnet_cond": Tensor((2, 3, 32, 24))},
        fixed=NO_DICT,
    ),
    "controlnet_sana": Alone(
        {
            "_class_name": "SanaControlNetModel",
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 8,
            "cross_attention_dim": 16,
            "caption_channels": 12,
            "sample_size": 8,
        },
        {
            "hidden_states": Tensor((2, 4, 8, 8)),
            "encoder_hidden_states": Tensor((2, 7, 12)),
            "timestep": Tensor((2,), "int64"),
            "controlnet_cond": Tensor((2, 4, 8, 8)),
            "encoder_attention_mask": Tensor((2, 7)),
        },
        fixed=NO_DICT,
        outputs={"block_0": "0.0", "block_1": "0.1"},
    ),
    "unet_controlled": Alone(
        {
            **UNET,
            "block_out_channels": [32],
            "down_block_types": ["CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D"],
        },
        {
            **UNET_INPUTS,
            "down_0": Tensor((2, 32, 16, 12), to="down_block_additional_residuals.0"),
            "down_1": Tensor((2, 32, 16, 12), to="down_block_additional_residuals.1"),
            "mid": Tensor((2, 32, 16, 12), to="mid_block_additional_residual"),
        },
        fixed=NO_DICT,
    ),
}
