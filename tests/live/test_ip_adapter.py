"""The IP-Adapter that a live UNet holds, as far as a plan has to know it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attnfuse.errors import TraceError
from attnfuse.live.ip_adapter import held_adapter
from attnfuse.tracing.folder import IpAdapter


def layer(rows: int, columns: int) -> Any:
    return SimpleNamespace(weight=np.zeros((rows, columns)))


def of(name: str, **attributes: Any) -> Any:
    return type(name, (), attributes)()


def unet(*projections: Any, scales: tuple[Any, ...] = (0.5, 0.5)) -> Any:
    attention = [of("IPAdapterAttnProcessor", scale=[scale], to_k_ip=[layer(32, 64)]) for scale in scales]
    return SimpleNamespace(
        encoder_hid_proj=of("MultiIPAdapterImageProjection", image_projection_layers=list(projections)),
        attn_processors=dict(enumerate([of("AttnProcessor2_0"), *attention])),
    )


PLAIN = of("ImageProjection", image_embeds=layer(256, 16))
PLUS = of("IPAdapterPlusImageProjection", proj_in=layer(32, 24))
FULL = of(
    "IPAdapterFullImageProjection",
    ff=SimpleNamespace(net=[SimpleNamespace(proj=layer(24, 24)), None, layer(64, 24)]),
)


def test_what_is_held() -> None:
    assert held_adapter({"vae": of("AutoencoderKL"), "unet": SimpleNamespace(encoder_hid_proj=None)}) is None
    assert held_adapter({"vae": of("AutoencoderKL"), "unet": unet(PLAIN)}) == IpAdapter("image_embeds", 16, 64, 0.5)
    for projection in (PLUS, FULL):
        assert held_adapter({"model": unet(projection)}) == IpAdapter("hidden_states", 24, 64, 0.5)
    assert held_adapter({"unet": unet(PLAIN, scales=(0.0, 1))}) == IpAdapter("image_embeds", 16, 64, 0.0, (0.0, 1.0))


def test_what_is_not_supported() -> None:
    cases = (
        (unet(PLAIN, PLUS), "2 IP-Adapters are loaded, and one is supported"),
        (unet(of("IPAdapterFaceIDImageProjection")), "has a projection of class IPAdapterFaceIDImageProjection"),
        (unet(PLAIN, scales=([0.5, 0.5],)), "has several scales for one attention"),
    )
    for model, said in cases:
        with pytest.raises(TraceError, match=said):
            held_adapter({"unet": model})
