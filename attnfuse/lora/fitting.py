"""Which weight of a component each layer of a LoRA belongs to, and what the documents tell of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attnfuse.errors import SourceError
from attnfuse.lora import inversion
from attnfuse.lora.given import ADAPTER_NAME, Added, Lora
from attnfuse.lora.inversion import Inversion
from attnfuse.lora.layers import Layer
from attnfuse.mindir.low_rank import LowRank
from attnfuse.names import some
from attnfuse.original_names import ORIGINALS
from attnfuse.tracing.contract import FixedValue, StoredWeight

FIXED_NAME = "lora_scale"
"""What pipelines call the scale of a LoRA, which is fixed in a graph with its weights."""

_MEANING = (
    "merged into the weights: each file of a LoRA, its SHA-256, its scale and how many weights it changed; for others"
    " compile the checkpoint again"
)


def fit(
    loras: Sequence[Lora], part: str, class_name: str, config: Mapping[str, Any], weights: Mapping[str, StoredWeight]
) -> dict[str, tuple[LowRank, ...]]:
    """What the LoRAs add to the weights of a component of that part, by parameter.

    `config` is the model's config.json. Raises SourceError, naming tensors, where some fit no weight.
    """
    index = _index(weights)
    added: dict[str, list[LowRank]] = {}
    for lora in loras:
        missing: list[Layer] = []
        owners: dict[str, Layer] = {}
        for layer in lora.layers:
            if layer.part != part:
                continue
            found = list(_found(lora, layer, class_name, config, index))
            if not found:
                missing.append(layer)
            for parameter, one in found:
                if (other := owners.setdefault(parameter, layer)) is not layer:
                    raise SourceError(
                        f"{lora.file} has {some([other.key, layer.key])}, two layers for the same weight of {part}: two"
                        " LoRAs in one file, or one under two namings; take one of them out."
                    )
                added.setdefault(parameter, []).append(one)
        if missing:
            raise SourceError(
                f"{lora.file} has {some([layer.key for layer in missing])}, and {part} ({class_name}) has no such"
                f" layer{'' if len(missing) == 1 else 's'}; it was made for another model."
            )
    return {name: tuple(ones) for name, ones in added.items()}


def _index(weights: Mapping[str, StoredWeight]) -> dict[str, str]:
    """Parameters by their module's name, as the checkpoint and the model have it, with "_" for every dot."""
    return {
        name.removesuffix(".weight").replace(".", "_"): parameter
        for parameter, weight in weights.items()
        for name in (weight.key, parameter)
        if name.endswith(".weight") and len(weight.shape) > 1
    }


def _found(
    lora: Lora, layer: Layer, class_name: str, config: Mapping[str, Any], index: Mapping[str, str]
) -> Iterator[tuple[str, LowRank]]:
    """The parameters that a layer belongs to, and what it adds to each; none where one of several is missing."""
    scale = layer.scale * lora.scale
    name = layer.module.replace(".", "_")
    if name in index:
        yield index[name], LowRank(lora.file, layer.up, layer.down, scale)
        return
    original = ORIGINALS.get(class_name)
    pieces = () if original is None else tuple(original(layer.module, "weight", config, layer.separator))
    names = [piece.module.replace(".", "_") for piece in pieces]
    if all(one in index for one in names):
        for one, piece in zip(names, pieces, strict=True):
            yield index[one], LowRank(lora.file, layer.up, layer.down, scale, piece.rows, piece.of)


def told(loras: Sequence[Lora], part: str, added: Mapping[str, Sequence[LowRank]]) -> FixedValue | None:
    """What stands in report and manifest of the LoRAs that change weights of the part; None where none does."""
    entries = [
        {
            "file": lora.file.name,
            "sha256": lora.sha256,
            "scale": lora.scale,
            "weights": sum(any(one.file == lora.file for one in ones) for ones in added.values()),
        }
        for lora in loras
        if any(layer.part == part for layer in lora.layers)
    ]
    return FixedValue(FIXED_NAME, entries, _MEANING) if entries else None


_BAKED = {FIXED_NAME: "scale", inversion.FIXED_NAME: "token", ADAPTER_NAME: "scale"}
"""What documents tell of, and what of an entry says how it is in the weights, beside its digest."""


def baked_in(fixed: Sequence[FixedValue]) -> set[tuple[str, object]]:
    """What a document says is in the weights of a component: LoRAs and IP-Adapters by digest and scale, textual
    inversions by digest and token."""
    return {
        (str(entry["sha256"]), entry[_BAKED[one.name]])
        for one in fixed
        if one.name in _BAKED and isinstance(one.value, list)
        for entry in one.value
        if isinstance(entry, dict) and "sha256" in entry and _BAKED[one.name] in entry
    }


def put_in(added: Sequence[Added], part: str) -> set[tuple[str, object]]:
    """The same, of what is to be in the weights of a part."""
    return {(one.sha256, one.token if isinstance(one, Inversion) else one.scale) for one in added if part in one.parts}
