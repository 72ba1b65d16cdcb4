"""The IP-Adapter that a live UNet holds, as `load_ip_adapter` leaves it.

Reads attributes of cells, and so imports no MindSpore.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnfuse.errors import TraceError
from attnfuse.tracing.folder import IpAdapter

_FIRST = {
    "ImageProjection": "image_embeds",
    "IPAdapterFullImageProjection": "ff.net.0.proj",
    "IPAdapterPlusImageProjection": "proj_in",
}
"""The first layer of each kind of projection that is supported (mindone's models/embeddings.py)."""


def held_adapter(parts: Mapping[str, Any]) -> IpAdapter | None:
    """The IP-Adapter of one of a pipeline's parts, or of the single model there is; None where none has one.

    Raises TraceError for several, and for one of a kind, or with a scale, that is not supported.
    """
    for model in parts.values():
        projection: Any = getattr(model, "encoder_hid_proj", None)
        if type(projection).__name__ == "MultiIPAdapterImageProjection":
            return _held(model, list(projection.image_projection_layers))
    return None


def _held(model: Any, projections: list[Any]) -> IpAdapter:
    if len(projections) != 1:
        raise TraceError(f"{len(projections)} IP-Adapters are loaded, and one is supported; unload them, and load one.")
    kind = type(projections[0]).__name__
    if kind not in _FIRST:
        raise TraceError(
            f"the IP-Adapter that is loaded has a projection of class {kind}; supported are {', '.join(_FIRST)}."
        )
    layer = projections[0]
    for name in _FIRST[kind].split("."):
        layer = layer[int(name)] if name.isdigit() else getattr(layer, name)
    processors = [one for one in model.attn_processors.values() if type(one).__name__.startswith("IPAdapterAttn")]
    scales = [one.scale[0] for one in processors]
    if not all(isinstance(scale, int | float) for scale in scales):
        raise TraceError(
            "the IP-Adapter that is loaded has several scales for one attention, as for several pictures with masks;"
            " give set_ip_adapter_scale numbers."
        )
    return IpAdapter(
        "image_embeds" if kind == "ImageProjection" else "hidden_states",
        int(layer.weight.shape[1]),
        int(processors[0].to_k_ip[0].weight.shape[1]),
        float(scales[0]),
        () if len(set(scales)) == 1 else tuple(map(float, scales)),
    )
