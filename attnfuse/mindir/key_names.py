"""What the names of a checkpoint's tensors show: an adapter in place of a model, layers of one left in, a prefix.

Free of protobuf: what is loaded beside MindSpore may import it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ADAPTERS = (
    (re.compile(r"\.hada_w[12]_[ab]$"), "a LoHa (hada_w1_a …)"),
    (re.compile(r"\.lokr_w[12]"), "a LoKr (lokr_w1 …)"),
    (re.compile(r"\.(dora_scale|lora_magnitude_vector(\.\w+)*)$"), "a DoRA (magnitudes of weights)"),
    (re.compile(r"[._]lora[._](A|B|up|down)\b|\.lora_linear_layer\.|_lora\.(up|down)\."), "a LoRA"),
    (re.compile(r"^(image_proj|ip_adapter)\."), "an IP-Adapter"),
)

_WRAPPERS = {
    "_orig_mod": "torch.compile",
    "module": "DataParallel",
    "model": "a trainer",
    "base_model.model": "PEFT",
    "_forward_module": "a trainer",
    "ema_model": "a trainer",
}
"""What puts a prefix before every name, and who does."""

_LEFT_IN = re.compile(r"\.base_layer\.(weight|bias)$")


def adapter_of(keys: Iterable[str]) -> str:
    """What kind of adapter tensors of these names are, where it is the whole of them: "a LoRA"; else nothing."""
    keys = list(keys)
    for pattern, kind in _ADAPTERS:
        matching = sum(1 for key in keys if pattern.search(key))
        others = [key for key in keys if not pattern.search(key) and not _of_adapter(key)]
        if matching and not others:
            return kind
    return ""


def _of_adapter(key: str) -> bool:
    return key.endswith((".alpha", ".scale")) or any(pattern.search(key) for pattern, _ in _ADAPTERS)


def misfit(keys: Iterable[str]) -> str:
    """Why tensors of these names are not those of a model, in words that follow the file's name; nothing where they
    may be.
    """
    keys = list(keys)
    if not keys:
        return "holds no tensors"
    kind = adapter_of(keys)
    if kind:
        example = next(key for key in keys if not key.endswith(".alpha"))
        return f"holds {kind} (tensor {example!r}), and no model; the model that it was made for is missing"
    left = next((key for key in sorted(keys) if _LEFT_IN.search(key)), None)
    if left is not None:
        return (
            f"has PEFT's layers left in (tensor {left!r}): merge them (merge_and_unload, or fuse_lora and"
            " unload_lora_weights) and save the model again"
        )
    return ""


def common_prefix(keys: Iterable[str], wanted: Iterable[str]) -> str:
    """The prefix that all of these names have before those that are `wanted`, with its dot; nothing where there is
    none.

    At least half of the names without it must be wanted ones.
    """
    keys, wanted = list(keys), set(wanted)
    first = next(iter(sorted(keys)), "")
    parts = first.split(".")
    for length in range(1, len(parts)):
        prefix = ".".join(parts[:length]) + "."
        if not all(key.startswith(prefix) for key in keys):
            return ""
        if 2 * sum(key.removeprefix(prefix) in wanted for key in keys) >= len(keys):
            return prefix
    return ""


def wrapper_of(prefix: str) -> str:
    """Who puts that prefix before every name, in brackets; nothing where that is not known."""
    who = _WRAPPERS.get(prefix.rstrip("."))
    return "" if who is None else f" ({who} puts it there)"
