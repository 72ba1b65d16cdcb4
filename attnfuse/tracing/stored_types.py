"""The type a component is traced in where the user names none: that its checkpoint is stored in.

Imports `checkpoint`, `contract` and `folder` of this package, and `attnfuse.mindir.dtypes`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from attnfuse.mindir import dtypes
from attnfuse.tracing.checkpoint import FLOAT8_DTYPES, StoredTensor
from attnfuse.tracing.contract import FLOAT_DTYPES
from attnfuse.tracing.folder import Config

_BYTES = {dtype.name: dtype.itemsize for dtype in (*dtypes.ALL, *dtypes.FLOAT8) if dtype.is_float}

DEFAULT = "float16"
"""What stands where nothing is stored in a 16-bit type: the first type of the fused operators, on every SoC."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A float type of `contract.FLOAT_DTYPES`, and where it comes from, in words that follow "in float16: "."""

    dtype: str
    source: str


def choose_dtype(tensors: Mapping[str, StoredTensor], config: Config, floats: Collection[str]) -> Chosen:
    """The type for a checkpoint of these tensors.

    The type most bytes of it are stored in decides: float16 and bfloat16 stay, float32 becomes float16, floats of
    eight bits are widened to the 16-bit type that is stored beside them, or float16. Without tensors config.json's
    `dtype` (or `torch_dtype`) is a hint. `floats` are those the SoC computes in; bfloat16 where it is not among them
    becomes float16.
    """
    counts = _counts(tensors)
    if counts:
        stored = max(sorted(counts), key=lambda dtype: counts[dtype])
        wanted = _narrow(stored, counts)
        source = stored_in(tensors)
    else:
        hint = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
        stored = hint if hint in FLOAT_DTYPES else DEFAULT
        wanted = DEFAULT if stored == "float32" else stored
        source = f"config.json says {hint}" if hint in FLOAT_DTYPES else "the default, its weights not being here"
    if wanted not in floats:
        return Chosen(DEFAULT, f"{source}, and the SoC has no {wanted}")
    return Chosen(wanted, source)


def stored_in(tensors: Mapping[str, StoredTensor]) -> str:
    """`its checkpoint is stored in float16`, or `… in float16 (93 % of it) and float32`: shares are of the bytes.

    Nothing where there is no tensor of a float type.
    """
    counts = _counts(tensors)
    if not counts:
        return ""
    first, *others = sorted(counts, key=lambda dtype: (-counts[dtype], dtype))
    share = int(100 * counts[first] / sum(counts.values()))
    message = f"its checkpoint is stored in {first}"
    if others:
        message += f" ({share} % of it) and {', '.join(others)}"
    widened = [dtype for dtype in (first, *others) if dtype in FLOAT8_DTYPES]
    return message + (f"; {' and '.join(widened)} is widened without loss" if widened else "")


def _counts(tensors: Mapping[str, StoredTensor]) -> Mapping[str, int]:
    """The bytes of each float type."""
    counts: dict[str, int] = {}
    for tensor in tensors.values():
        if tensor.dtype in _BYTES and tensor.size:
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.size * _BYTES[tensor.dtype]
    return counts


def _narrow(stored: str, counts: Mapping[str, int]) -> str:
    if stored in ("float16", "bfloat16"):
        return stored
    if stored in FLOAT8_DTYPES and counts.get("bfloat16", 0) > counts.get("float16", 0):
        return "bfloat16"
    return DEFAULT
