"""What a UNet with an IP-Adapter is handed of a picture, and what its graph has fixed of it.

As `load_ip_adapter` leaves the UNet, and `prepare_ip_adapter_image_embeds` makes what the pipelines hand to it. The
scale, which mindone keeps on the attention, is an input: people change it from picture to picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnfuse.tracing.folder import IMAGE_ENCODER, IpAdapter
from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import IP_ADAPTER_SCALE
from attnfuse.tracing.specs.record import FixedSetting, Input

_PUBLISHED = {"image_size": 224, "patch_size": 14}
"""Of every published image encoder of an IP-Adapter, taken where there is none to say it."""

_OF_ADAPTER = "ip_image_proj"
"""What `load_ip_adapter` says in the UNet's configuration."""


def _adapter(context: SpecContext) -> IpAdapter | None:
    return context.pipeline.ip_adapter


def takes_pooled(context: SpecContext) -> bool:
    """Whether there is an IP-Adapter that takes what an image encoder's states are pooled to."""
    adapter = _adapter(context)
    return adapter is not None and adapter.takes == "image_embeds"


def takes_states(context: SpecContext) -> bool:
    """Whether there is an IP-Adapter that takes an image encoder's states."""
    adapter = _adapter(context)
    return adapter is not None and adapter.takes == "hidden_states"


def _takes_scale(context: SpecContext) -> bool:
    adapter = _adapter(context)
    return adapter is not None and not adapter.fixed_scales


def _has_scales(context: SpecContext) -> bool:
    adapter = _adapter(context)
    return adapter is not None and bool(adapter.fixed_scales)


def _has_none(context: SpecContext) -> bool:
    return _adapter(context) is None


def picture_sizes(context: SpecContext) -> Sizes:
    """The width of what the adapter takes of a picture, and how many states: of each patch one, and one of all."""
    adapter = _adapter(context)
    if adapter is None:
        return {}
    has_encoder = context.has(IMAGE_ENCODER)
    size, patch = (
        context.number(key, IMAGE_ENCODER) if has_encoder else default for key, default in _PUBLISHED.items()
    )
    return {"image_width": adapter.width, "image_states": (size // patch) ** 2 + 1}


def unknown_adapter(context: SpecContext) -> str:
    """Refuse a UNet that takes something else beside the text, or was saved with an IP-Adapter in it, which mindone
    cannot load; a live one may hold one."""
    kind, adapter = context.option("encoder_hid_dim_type"), _adapter(context)
    if kind is None or (kind == _OF_ADAPTER and adapter is not None and adapter.file is None):
        return ""
    if kind != _OF_ADAPTER:
        return f"encoder_hid_dim_type = {kind!r} is not supported"
    return (
        f"encoder_hid_dim_type = {kind!r} is not supported: the UNet was saved with an IP-Adapter in it, which mindone"
        " does not load either; give a UNet without, and the adapter with --ip-adapter"
    )


def _told(context: SpecContext) -> Any:
    adapter = _adapter(context)
    assert adapter is not None
    scale = list(adapter.fixed_scales) or adapter.scale
    if adapter.file is None:
        return [{"scale": scale}]
    return [{"file": adapter.file.name, "sha256": adapter.sha256, "scale": scale}]


PICTURE_PROMPT = (
    Input(
        "image_embeds",
        ("rows", 1, "image_width"),
        to="added_cond_kwargs.image_embeds.0",
        when=takes_pooled,
        only="there is an IP-Adapter of a pooled picture (plain)",
        note="the image encoder's, and zeros in rows without the prompt",
    ),
    Input(
        "image_embeds",
        ("rows", 1, "image_states", "image_width"),
        to="added_cond_kwargs.image_embeds.0",
        when=takes_states,
        only="there is an IP-Adapter of a picture's states (plus, full)",
        note="the image encoder's, and those of a picture of zeros in rows without the prompt",
    ),
    Input(
        "ip_adapter_scale",
        (1,),
        to="added_cond_kwargs.ip_adapter_scale",
        when=_takes_scale,
        only="there is an IP-Adapter, with one scale for all attention",
        note="as set_ip_adapter_scale has it; 0 leaves the picture out",
    ),
)
"""What is handed to the UNet."""

SETTINGS = (
    replace(
        IP_ADAPTER_SCALE,
        meaning="the graph has no IP-Adapter: --ip-adapter gives it one, whose scale is an input",
        when=_has_none,
        only="there is no IP-Adapter",
    ),
    FixedSetting(
        "ip_adapter",
        [{"scale": 1.0}],
        "in the UNet; its scale is that of runs that say nothing else: an input, ip_adapter_scale",
        when=_takes_scale,
        only="there is an IP-Adapter, with one scale for all attention",
        told=_told,
    ),
    FixedSetting(
        "ip_adapter",
        [{"scale": [0.0, 1.0]}],
        "in the live UNet, with a scale for each attention in their order; for others set them and compile again",
        when=_has_scales,
        only="a live UNet has an IP-Adapter whose scales differ",
        told=_told,
    ),
)
"""What the graph of the UNet has fixed."""
