"""The tracing patches an entry may name, by constants: `attnfuse.tracing.patches.TRACING` holds what each is.

Imports nothing: the patches themselves import MindSpore.
"""

from __future__ import annotations

DEVICE_CALLS = "device_calls"
"""For calls of mindone's transformers that only Ascend takes as they are."""

FRAME_TIMESTEPS = "frame_timesteps"
"""For timesteps of every frame."""

GIVEN_MODELS = "given_models"
"""For models of transformers that no pipeline has."""

JOINT_SEQUENCE = "joint_sequence"
"""For Lumina 2's transformer."""

KEPT_LEVELS = "kept_levels"
"""For what the levels of Würstchen's decoder hand on."""

MASKED_ATTENTION = "masked_attention"
"""What every model needs in which mindone's `Attention` gets a mask."""

MASKED_TEXT = "masked_text"
"""For attention of Mochi's transformer."""

NORMED_WEIGHTS = "normed_weights"
"""For convolutions that rewrite their weight."""

ONE_TILE = "one_tile"
"""For Allegro's autoencoder."""

PERTURBED_JOINT = "perturbed_joint"
"""For Stable Diffusion 3 with perturbed attention."""

PLAIN_RESULTS = "plain_results"
"""For models that return or ask for records, Flux2's autoencoder among them."""

QWEN_ROTARY = "qwen_rotary"
"""For Qwen-Image's rotary tables."""

QWEN_TEXT = "qwen_text"
"""For the mask of Qwen-Image's texts."""

REAL_ROTARY = "real_rotary"
"""For rotary tables of complex numbers."""

SEEN_PICTURE = "seen_picture"
"""For the picture that Qwen 2.5 VL sees, of a size that is known."""

STACKED_ROTARY = "stacked_rotary"
"""For attention of SkyReels 2's transformer."""

TEXT_DECODER = "text_decoder"
"""For what is around the layers of mindone's decoders."""

ATTENTION_TYPE = "attention_type"
"""For attention that is asked its type."""

UNCHUNKED = "unchunked"
"""For Mochi's autoencoder."""

UNPOOLED = "unpooled"
"""For Siglip, of which the states are wanted, not what they pool to."""

WHOLE_VIDEO = "whole_video"
"""For the autoencoders of Wan and Qwen-Image."""

PATCHES = tuple(value for name, value in sorted(globals().items()) if name.isupper())
"""All of them."""
