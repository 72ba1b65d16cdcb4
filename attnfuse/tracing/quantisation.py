"""Recognises checkpoints whose weights are quantised: codes and factors in place of the numbers a model computes with.

mindone has no loader for any of them: its copy takes whatever lies under a parameter's name for the parameter's value.
Where the published formats put what is looked for here:

    bitsandbytes        `X.SCB`, `X.weight_format` (8 bit); `X.weight.absmax`, `.quant_map`, `.quant_state.*` (nf4, fp4)
    GPTQ, AWQ           `X.qweight` (int32, eight 4-bit codes each), `X.qzeros`, `X.g_idx`, `X.scales`
    optimum-quanto      `X.weight._data`, `X.weight._scale`, `X.input_scale`, `X.output_scale`
    compressed-tensors  `X.weight_packed`, `X.weight_scale`, `X.weight_zero_point`, `X.weight_shape`
    torchao             `X.weight:qdata` or `X._weight_qdata`, and `scale` beside it
    SDNQ                int8, uint8 or packed `X.weight`, `X.scale`, `X.zero_point`, `X.svd_up`
    float8 with factors `X.weight_scale`, `X.weight_scale_inv`, `X.scale_weight`, `scaled_fp8`, `X.input_scale`
    Nunchaku            `X.qweight`, `X.wscales`;   HQQ: `X.W_q`;   MLX: uint32 `X.weight`, `X.scales`, `X.biases`
    GGUF                a file of its own format, which begins with "GGUF"

Floats of eight bits are numbers by themselves or codes that a factor belongs to, and a factor may have any name: such a
weight is taken for numbers only where nothing beside it could be a factor (`unread_factor`).

Reads headers and configurations, no values. Imports `checkpoint` and `folder` of this package and `attnfuse.errors`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from attnfuse.errors import SourceError
from attnfuse.tracing.checkpoint import FLOAT8_DTYPES, StoredTensor, is_gguf, read_metadata
from attnfuse.tracing.folder import Config, PipelineFolder, read_json

REMEDY = "give the unquantised checkpoint"
"""What to do about any of them."""

#: Keys that nothing but a quantised checkpoint has, and what kind it is then.
_COMPANIONS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"quant_state\.bitsandbytes__nf4$", "bitsandbytes, nf4"),
        (r"quant_state\.bitsandbytes__fp4$", "bitsandbytes, fp4"),
        (r"(^|\.)(nested_)?(absmax|quant_map)$|(^|\.)quant_state\.", "bitsandbytes, 4 bit"),
        (r"(^|\.)(SCB|weight_format)$", "bitsandbytes, 8 bit"),
        (r"(^|\.)w(c|t)?scales?$", "SVDQuant"),
        (r"(^|\.)(qweight|qzeros|g_idx)$", "GPTQ or AWQ"),
        (r"(^|\.)weight\._(data|scale|zeropoint|shift|qtype)$", "optimum-quanto"),
        (r"(^|\.)weight_(packed|shape|zero_point|g_idx)$", "compressed-tensors"),
        (r"(^|[._:])(weight_)?qdata$", "torchao"),
        (r"(^|\.)W_q$", "HQQ"),
        (r"(^|\.)weight_scale_inv$", "float8 with factors of blocks"),
        (r"(^|\.)(scaled_fp8|comfy_quant|scale_weight|scale_input)$", "float8 or int8 with scale factors"),
        (r"(^|\.)weight_scales?(_2)?$", "scale factors beside the weights"),
    )
)

#: What lies beside codes under names that other models have for parameters of their own.
_BESIDE_CODES = (
    "scale",
    "scales",
    "zero_point",
    "zero",
    "zeros",
    "biases",
    "input_scale",
    "output_scale",
    "act_scale",
    "svd_up",
    "svd_down",
)

#: Files in which some tools say what they did, where config.json says nothing.
_TOLD_IN = (
    "quantization_config.json",
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
    "quanto_qmap.json",
    "quantization_map.json",
)

#: What a file's header has where some tool quantised its tensors (`_quantization_metadata`; torchao's classes).
_METADATA_KEY = re.compile(r"quant|fp8|float8|scale", re.IGNORECASE)
_METADATA_VALUE = re.compile(r'"[^"]*quant[^"]*"\s*:|"_type"\s*:\s*"[^"]*(Quantized|Float8|Int4|Int8)', re.IGNORECASE)

#: Buffers and parameters that some published checkpoints have beyond what the model reads; none is a factor of weights.
_KNOWN_UNREAD = ("inv_freq", "logit_scale", "logit_bias")

#: A block of weights that share a factor has at least as many elements.
_BLOCK = 8

_ENTRIES = ("quantization_config", "compression_config", "quantization")


def quantisation_of(pipeline: PipelineFolder, model: str, tensors: Mapping[str, StoredTensor]) -> str:
    """Why a part's checkpoint is taken for quantised, in words that follow "component NAME:", or nothing.

    What shows it is a configuration, a file, or one of the `tensors`; each alone is enough.
    """
    folder = pipeline.folders[model]
    quantised = [*_said(pipeline, model, folder), *(_first_of_each(tensors) if tensors else _gguf(folder))]
    if not quantised:
        return ""
    kind = next((kind for kind, _ in quantised if kind), "in a way that is not said")
    evidence = "; ".join(dict.fromkeys(where for _, where in quantised))
    return f"its checkpoint is quantised ({kind}): {evidence}; {REMEDY}"


def quantised_tensors(tensors: Mapping[str, StoredTensor]) -> str:
    """What shows that tensors are quantised, in words that follow "is quantised", or nothing."""
    found = list(_first_of_each(tensors))
    return f"({found[0][0]}): {'; '.join(where for _, where in found)}; {REMEDY}" if found else ""


def _said(pipeline: PipelineFolder, model: str, folder: Path) -> Iterator[tuple[str, str]]:
    """(kind, place) of what a configuration says: the part's own, a file of the tool's, the pipeline's."""
    try:
        config = read_json(folder / "config.json")
    except SourceError:  # told by whoever needs it
        config = {}
    for path, entry in _entries(config, ""):
        yield _kind(entry), f"{path} in {folder.name}/config.json"
    for name in _TOLD_IN:
        if (folder / name).is_file():
            yield "", f"{folder.name}/{name}"
    whole = pipeline.options.get("quantization_config")
    if isinstance(whole, Mapping) and whole:
        named = whole.get("components_to_quantize") or whole.get("quant_mapping")
        of_these = [named] if isinstance(named, str) else named
        if not isinstance(of_these, list | dict) or model in of_these:  # where none is named, it is all
            yield _kind(whole), "quantization_config in model_index.json"


def _entries(config: Config, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of a configuration that tell a quantisation, those of nested ones (`text_config`) too."""
    for key, value in config.items():
        if not isinstance(value, Mapping) or not value:
            continue
        if key in _ENTRIES:
            yield f"{path}{key}", value
        elif key.endswith("_config"):
            yield from _entries(value, f"{path}{key}.")


def _kind(entry: Mapping[str, Any]) -> str:
    """What a quantization_config calls itself: its method, and type or bits."""
    method = next((str(entry[key]) for key in ("quant_method", "quant_backend", "quant_algo") if entry.get(key)), "")
    if entry.get("load_in_4bit"):
        return f"{method or 'bitsandbytes'}, {entry.get('bnb_4bit_quant_type') or 'fp4'}"
    if entry.get("load_in_8bit"):
        return f"{method or 'bitsandbytes'}, 8 bit"
    types = ("weights_dtype", "weight_dtype", "weights", "quant_type", "activation_scheme", "format", "fmt")
    detail = next((str(entry[key]) for key in types if isinstance(entry.get(key), str)), "")
    if not detail and isinstance(entry.get("bits"), int):
        detail = f"{entry['bits']} bit"
    return ", ".join(filter(None, (method, detail)))


def _gguf(folder: Path) -> Iterator[tuple[str, str]]:
    """(kind, place) of a file of the format GGUF in a folder that has no checkpoint to be read."""
    found = (path for path in sorted(folder.glob("*")) if path.suffix in (".gguf", ".safetensors") and is_gguf(path))
    yield from (("GGUF", f"{folder.name}/{path.name}") for path in itertools.islice(found, 1))


def _first_of_each(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, str]]:
    """The first companion of codes, and the first weight that is none of a float type or has factors beside it."""
    named = next(
        ((kind, key) for pattern, kind in _COMPANIONS for key in sorted(tensors) if pattern.search(key)),
        None,
    )
    if named is not None:
        yield named[0], f"tensor {named[1]!r} of {_file(tensors[named[1]])}"
    for key in sorted(tensors):
        tensor, factors = tensors[key], _factors(key, tensors)
        if _is_code(key, tensor) or (tensor.dtype in FLOAT8_DTYPES and factors):
            beside = f", with {factors!r} beside it" if factors else ""
            yield tensor.dtype, f"tensor {key!r} of {_file(tensor)} is {tensor.dtype}{beside}"
            return
    yield from itertools.islice(_of_float8(tensors), 1)


def _of_float8(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, str]]:
    """(kind, place) of what shows by itself that a float8 weight is a code: a header, a key made of the weight's."""
    weights = {key: tensor for key, tensor in sorted(tensors.items()) if tensor.dtype in FLOAT8_DTYPES}
    if not weights:  # no run of words need be looked for
        return
    first: dict[Path, str] = {}
    for key, tensor in weights.items():
        first.setdefault(tensor.file, key)
    for path, key in first.items():
        for name, value in sorted(read_metadata(path).items()):
            if _METADATA_KEY.search(name) or _METADATA_VALUE.search(value):
                where = f"tensor {key!r} of {_file(tensors[key])} is {tensors[key].dtype}"
                yield tensors[key].dtype, f"{where}, and the file's metadata has {name!r}"
    by_words = {_words(key): key for key in weights}
    for other, tensor in sorted(tensors.items()):
        for words in _runs(_words(other)):
            key = by_words.get(words, other)
            if key != other and _is_named_after(tensor, weights[key]):
                where = f"tensor {key!r} of {_file(weights[key])} is {weights[key].dtype}"
                yield weights[key].dtype, f"{where}, with {other!r} beside it"


def _words(key: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[^A-Za-z0-9]+", key.replace("_", "."))))


def _runs(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every run of words that are beside each other, longest first."""
    for length in range(len(words), 0, -1):
        yield from (words[start : start + length] for start in range(len(words) - length + 1))


def _is_named_after(other: StoredTensor, weight: StoredTensor) -> bool:
    """Whether a tensor, the words of whose key hold those of the weight's, can only belong to that weight."""
    if len(_words(weight.key)) < 2:
        return False
    if _words(other.key)[-len(_words(weight.key)) :] == _words(weight.key):
        # `scales.fc1.weight`, or the weight of another module `x.fc1`: a factor has one value, or one a row or column.
        factor = len(weight.shape) > 1 and other.size in (1, weight.shape[0], weight.shape[-1])
        return factor and other.dtype not in FLOAT8_DTYPES
    is_weight = weight.key.endswith("weight")
    return is_weight or re.match(re.escape(weight.key) + r"[^A-Za-z0-9]", other.key) is not None


def unread_factor(tensors: Mapping[str, StoredTensor], read: Collection[str], of: Collection[str]) -> str:
    """Why floats of eight bits may be codes, or nothing: an unread tensor could be their factor.

    `read` are the keys of the tensors that the model takes a parameter from, `of` those of the weights in question.
    A factor may be what has the name of a weight or of its module in its key, and any float tensor so small that it can
    have one value for each row or block of a weight.
    """
    weights = [tensors[key] for key in of if tensors[key].dtype in FLOAT8_DTYPES]
    if not weights:
        return ""
    few = max(max(1, *weight.shape[:1], weight.size // _BLOCK) for weight in weights)
    by_stem: dict[tuple[str, ...], StoredTensor] = {}
    for weight in weights:
        by_stem.setdefault(_words(weight.key.rpartition(".")[0] or weight.key), weight)
    for key in sorted(set(tensors).difference(read)):
        module, _, leaf = key.rpartition(".")
        tensor = tensors[key]
        near = next((by_stem[words] for words in _runs(_words(key)) if words in by_stem), None)
        if leaf in _KNOWN_UNREAD or (leaf == "bias" and f"{module}.weight" in tensors):
            continue
        if near is None:
            if leaf in ("weight", "bias") or tensor.dtype.startswith(("int", "uint", "bool")) or tensor.size > few:
                continue  # of a part that the model does not have; a counter or a mask; too many
        elif leaf == "weight" and tensor.size > few:  # of another module, whose name ends alike
            continue
        weight = near or weights[0]
        return (
            f"tensor {weight.key!r} of {weight.file.name} is {weight.dtype}, and the model does not read {key!r}, which"
            f" may be its factor: the checkpoint may be quantised; {REMEDY}"
        )
    return ""


def _file(tensor: StoredTensor) -> str:
    return f"{tensor.file.parent.name}/{tensor.file.name}"


def _is_code(key: str, tensor: StoredTensor) -> bool:
    """Whether a tensor is a weight, by its name, and of a type no weight has: whole numbers, or packed ones."""
    leaf = key.rpartition(".")[2]
    is_weight = leaf.endswith(("weight", "bias"))
    if tensor.dtype == "bool" and leaf.endswith("bias") and len(tensor.shape) > 1:
        return False  # a causal mask in a buffer that GPT-2 calls its bias
    return is_weight and not (tensor.dtype in FLOAT8_DTYPES or tensor.dtype.startswith(("float", "bfloat")))


def _factors(key: str, tensors: Mapping[str, StoredTensor]) -> str:
    """The key of the factors that lie beside a tensor, or nothing."""
    module, dot, _ = key.rpartition(".")
    places = (f"{start}{name}" for start in (f"{module}{dot}", f"{key}.", f"{key}_") for name in _BESIDE_CODES)
    return next((place for place in places if place in tensors), "")
