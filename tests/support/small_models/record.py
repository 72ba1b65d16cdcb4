"""What a small pipeline is, and the configurations that several of them have.

Sizes differ from each other wherever the architecture lets them, so that a confusion of two axes shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import SMALL_VAE

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Small:
    """One pipeline: its class, its parts' configurations by attribute, the shapes it is traced in, its own options."""

    pipeline: str
    models: Mapping[str, Config]
    scheduler: str = "FlowMatchEulerDiscreteScheduler"
    shapes: ShapeOptions = field(default_factory=ShapeOptions)
    options: Mapping[str, Any] = field(default_factory=dict)


def small_vae(**changes: Any) -> Config:
    """An AutoencoderKL of two levels, with `changes` of its configuration."""
    return {**SMALL_VAE, "block_out_channels": [16, 32], "norm_num_groups": 8, **changes}


T5: Config = {
    "architectures": ["T5EncoderModel"],
    "model_type": "t5",
    "vocab_size": 64,
    "d_model": 24,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "is_encoder_decoder": False,
    "use_cache": False,
}

UMT5: Config = {**T5, "architectures": ["UMT5EncoderModel"], "model_type": "umt5"}
