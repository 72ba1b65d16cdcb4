"""What is in a LoRA file: pairs of factors with a scale each, by the module they belong to.

Namings, each with where it is written:

    kohya       `lora_unet_MODULE.lora_down.weight`, `.lora_up.weight`, `.alpha`; `lora_te_`, `lora_te1_`, `lora_te2_`
                (kohya-ss/sd-scripts, networks/lora.py): "_" in place of every "."
    PEFT        `unet.MODULE.lora_A.weight`, `.lora_B.weight` (diffusers, loaders/lora_pipeline.py), of every part by
                its attribute; `base_model.model.MODULE` (PEFT's own, with adapter_config.json beside it)
    diffusers   `unet.MODULE.lora.down.weight`, `.lora_linear_layer.down.weight`, `.processor.to_q_lora.down.weight`
                (utils/state_dict_utils.py)
    ComfyUI     `diffusion_model.MODULE`, with the original names of the model

The scale is alpha / rank. The alpha is read from `.alpha`, or, of PEFT, from what its configuration says
(`lora_adapter_metadata` in the file's header, or adapter_config.json). Where neither tells it, it is what diffusers
takes (utils/peft_utils.py, `get_peft_kwargs`): the alpha that most layers of the part have, or, of a part without any,
the rank of its first layer.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attnfuse import documents
from attnfuse.errors import SourceError
from attnfuse.mindir.key_names import adapter_of
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.names import shortened, some

DENOISERS = ("unet", "transformer", "prior")
"""What pipelines call the model that a LoRA without the name of a part is for."""

_FACTOR = re.compile(
    r"(?P<base>.+?)"
    r"(?:\.lora_(?P<peft>[AB])(?:\.[\w-]+)?\.weight"
    r"|\.lora_(?P<kohya>down|up)\.weight"
    r"|(?P<old>_lora|\.lora|\.lora_linear_layer)\.(?P<diffusers>down|up)\.weight)"
)
_DOWN = ("A", "down")

#: What kinds of adapters have that are no sums of products of two factors, and what these are called.
_OTHER_KINDS = (
    (re.compile(r"\.(dora_scale|lora_magnitude_vector(\.\w+)*)$"), "a DoRA, which scales the rows of weights"),
    (re.compile(r"\.hada_[wt]\d"), "a LoHa"),
    (re.compile(r"\.lokr_[wt]\d"), "a LoKr"),
    (re.compile(r"\.lora_mid\.weight$"), "a LoCon in Tucker's form (lora_mid)"),
    (re.compile(r"\.oft_|\.oft_blocks$"), "an OFT"),
    (re.compile(r"\.(diff|diff_b|w_norm|b_norm)$"), "differences of whole weights (diff)"),
    (re.compile(r"\.lora_(B|up)(\.[\w-]+)?\.bias$|\.bias_[\w]+$"), "biases (lora_bias)"),
    (re.compile(r"\.lora_embedding_[AB]"), "factors of an embedding"),
    (re.compile(r"^(image_proj|ip_adapter)\."), "an IP-Adapter"),
)

_KOHYA = (
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te3_", "text_encoder_3"),
    ("lora_te_", "text_encoder"),
    ("lora_unet_", ""),
    ("lora_transformer_", ""),
)
_DOTTED = (
    ("text_encoders.clip_l.transformer.", "text_encoder"),
    ("diffusion_model.", ""),
    ("base_model.model.", ""),
)
_CHANGE_THE_MODEL = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways of PEFT to begin with (`init_lora_weights`) that take the first factors out of the model's own weights."""
_LARGEST_ALPHA = 3.4e38
"""That of float32, as `.alpha` is stored."""
_LONGEST_PATTERN = 1_000
_SECONDS = 1.0
_COUNTS = re.compile(r"\)[?+]?\{|\{[\d,]*\d{4}")
"""Of a regular expression, a count of a group, which may hold counts itself, and one of thousands."""
_TEXT_ORDER = ("k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2")
_OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One pair of factors. `part` is the attribute of the pipeline's model it belongs to, `module` the module's name in
    that, in whose parts `separator` stands; `key` is the name of one of its tensors, for messages."""

    part: str
    module: str
    separator: str
    up: str
    down: str
    scale: float
    key: str


@dataclass(frozen=True, slots=True)
class _Pair:
    base: str
    factors: dict[str, str] = field(default_factory=dict)


def read_layers(file: TensorFile, parts: Sequence[str]) -> tuple[Layer, ...]:
    """The layers of a file, for a pipeline with these `parts`.

    Raises SourceError, naming tensors, for what is no LoRA, or one of a kind that is not merged, for a factor without
    the other, for a part that the pipeline does not have, and for a tensor that belongs to nothing.
    """
    keys = list(file.tensors)
    for pattern, kind in _OTHER_KINDS:
        found = next((key for key in keys if pattern.search(key)), None)
        if found is not None:
            raise SourceError(
                f"{file.path} holds {kind} (tensor {found!r}); attnfuse merges LoRAs of two factors: merge it with its"
                " own tool first."
            )
    pairs, alphas = _paired(keys)
    if not pairs:
        what = adapter_of(keys) or "tensors of no LoRA"
        held = f"{what}, such as {keys[0]!r}" if keys else "no tensors"
        raise SourceError(f"{file.path} is no LoRA: it holds {held}.")
    settings = _Settings.of(file)
    layers = _with_scales(file, [_layer(file, pair, parts) for pair in pairs.values()], alphas, settings)
    used = {key for layer in layers for key in (layer.up, layer.down)}
    used |= {alpha for base, alpha in alphas.items() if base in pairs}
    unread = [key for key in keys if key not in used]
    if unread:
        raise SourceError(f"{file.path} has {some(unread)}, which belong to no layer of a LoRA.")
    return tuple(sorted(layers, key=lambda layer: (layer.part, layer.module)))


def _paired(keys: Sequence[str]) -> tuple[dict[str, _Pair], dict[str, str]]:
    """The factors by their module as it is written, and the keys of alphas by theirs."""
    pairs: dict[str, _Pair] = {}
    alphas: dict[str, str] = {}
    for key in keys:
        if key.endswith(".alpha"):
            alphas[key.removesuffix(".alpha")] = key
            continue
        found = _FACTOR.fullmatch(key)
        if found is None:
            continue
        base = found["base"] + (found["old"] if found["old"] == "_lora" else "")
        which = found["peft"] or found["kohya"] or found["diffusers"]
        pairs.setdefault(base, _Pair(base)).factors["down" if which in _DOWN else "up"] = key
    return pairs, alphas


def _layer(file: TensorFile, pair: _Pair, parts: Sequence[str]) -> tuple[str, Layer]:
    """What a layer is called in the file, and the layer, of scale 1."""
    for one, other in (("up", "down"), ("down", "up")):
        if one not in pair.factors:
            key = pair.factors[other]
            raise SourceError(f"{file.path} has tensor {key!r} and not the other factor of it; download it again.")
    up, down = pair.factors["up"], pair.factors["down"]
    part, module, separator = _place(file, pair.base, down, parts)
    return pair.base, Layer(part, module, separator, up, down, 1.0, down)


def _with_scales(
    file: TensorFile, layers: Sequence[tuple[str, Layer]], alphas: Mapping[str, str], settings: _Settings
) -> list[Layer]:
    """The layers with their scales."""
    given = {base: _number(file, alphas[base]) for base, _ in layers if base in alphas}
    made: list[Layer] = []
    for part in {layer.part: None for _, layer in layers}:
        own = [(base, layer) for base, layer in layers if layer.part == part]
        first = min((layer for _, layer in own), key=lambda layer: _order(file, layer))
        default = float(_rank(file, first))
        counts = Counter(given[base] for base, _ in own if base in given)
        if counts:
            default = counts.most_common()[0][0]
        for base, layer in own:
            rank = _rank(file, layer)
            scale = given[base] / rank if base in given else settings.scale(base, rank)
            made.append(replace(layer, scale=default / rank if scale is None else scale))
    return made


def _rank(file: TensorFile, layer: Layer) -> int:
    shape = file.entry(layer.down).shape
    if not shape or not shape[0]:
        raise SourceError(f"tensor {layer.down!r} of {file.path} has shape {list(shape)}, and no rank.")
    return shape[0]


def _order(file: TensorFile, layer: Layer) -> tuple[int, ...]:
    """Where diffusers finds a layer: of a text encoder as the model has them, else as the file has them."""
    if not layer.part.startswith("text_encoder"):
        return (file.entry(layer.up).offset,)
    leaf = next((place for place, name in enumerate(_TEXT_ORDER) if layer.module.endswith(name)), len(_TEXT_ORDER))
    return (*map(int, re.findall(r"(?<![A-Za-z0-9])\d{1,9}", layer.module.replace("_", "."))), leaf)


def _number(file: TensorFile, key: str) -> float:
    value = file.values(key)
    if value.size != 1 or not math.isfinite(float(value.reshape(-1)[0])):
        raise SourceError(f"tensor {key!r} of {file.path} is not one number.")
    return float(value.reshape(-1)[0])


def _place(file: TensorFile, base: str, key: str, parts: Sequence[str]) -> tuple[str, str, str]:
    """Part, module and separator of a layer, of its name as it is written."""
    separator = "."
    part, module = next(((p, base.removeprefix(f"{p}.")) for p in parts if base.startswith(f"{p}.")), ("", base))
    if not part:
        named = next(((prefix, p) for prefix, p in _KOHYA if base.startswith(prefix)), None)
        if named is not None:
            separator = "_"
        else:
            named = next(((prefix, p) for prefix, p in _DOTTED if base.startswith(prefix)), ("", ""))
        part = named[1] or next((name for name in DENOISERS if name in parts), "")
        module = base.removeprefix(named[0])
    if part == "text_encoder_3" and part not in parts:
        part = "text_encoder_2"  # Flux has CLIP and T5, which Stable Diffusion 3 has as first and third
    if part not in parts:
        raise SourceError(
            f"{file.path} has tensor {key!r}, for a part {part or 'unet or transformer'} that the pipeline does not"
            f" have; it has {', '.join(parts)}."
        )
    module = module.replace(".processor.", ".")
    if module.endswith("_lora"):  # of the first attention processors
        owner, _, leaf = module.removesuffix("_lora").rpartition(".")
        leaf = _OLD_TEXT.get(leaf, leaf) if part.startswith("text_encoder") else leaf.replace("to_out", "to_out.0")
        module = f"{owner}.{leaf}"
    return part, module, separator


@dataclass(frozen=True, slots=True)
class _Settings:
    """What PEFT's configuration says of scales: by the part's name and a dot, or of all."""

    entries: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, file: TensorFile) -> _Settings:
        """The configuration in the file's header, or beside it. Raises SourceError where it cannot be read."""
        beside = file.path.parent / "adapter_config.json"
        text = file.metadata.get("lora_adapter_metadata")
        where = f"lora_adapter_metadata in the header of {file.path}"
        try:
            if text is None and any(key.startswith("base_model.model.") for key in file.tensors):
                text, where = documents.read_text(beside), str(beside)
            entries = {} if text is None else documents.parse(text, "JSON")
        except FileNotFoundError:
            raise SourceError(f"{file.path} was written by PEFT, and {beside} is missing.") from None
        except (OSError, ValueError) as error:
            raise SourceError(f"{where} cannot be read: {documents.reason(error)}; download it again.") from None
        if not isinstance(entries, Mapping):
            raise SourceError(f"{where} is no JSON object; download it again.")
        for key, value in entries.items():
            if key.endswith("init_lora_weights") and isinstance(value, str) and value.startswith(_CHANGE_THE_MODEL):
                raise SourceError(
                    f"{where} says {key} {value!r}: the LoRA is for a model whose weights that way changed; save it"
                    " from PEFT as a plain LoRA first (path_initial_model_for_weight_conversion)."
                )
        return cls(entries, where)

    def scale(self, base: str, rank: int) -> float | None:
        """alpha / rank of a layer, or alpha / √rank where it was trained so; None where the alpha is not told."""
        prefixes = [key.removesuffix("lora_alpha") for key in self.entries if key.endswith("lora_alpha")]
        prefix = next((one for one in prefixes if base.startswith(one)), "")
        alpha = self.entries.get(f"{prefix}lora_alpha")
        patterns = self.entries.get(f"{prefix}alpha_pattern")
        for pattern, value in patterns.items() if isinstance(patterns, Mapping) else ():
            if self._matches(pattern, base.removeprefix(prefix)):
                alpha = value
                break
        if alpha is None:
            return None
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= _LARGEST_ALPHA:
            raise SourceError(f"{self.where} has an alpha for {base!r} that is no finite number; download it again.")
        return alpha / (math.sqrt(rank) if self.entries.get(f"{prefix}use_rslora") else rank)

    def _matches(self, pattern: str, name: str) -> bool:
        """Whether the layer is what the pattern means, which is PEFT's: of the whole name, or of its last parts.

        A pattern comes with a file, from anybody: it may take no more than a second, and no counts of counts, which
        would be written out in memory.
        """
        import regex  # it takes a tenth of a second, and hardly any file has patterns

        shown = shortened(pattern, 60)
        if len(pattern) > _LONGEST_PATTERN or _COUNTS.search(pattern):
            raise SourceError(
                f"{self.where} has {shown!r} in alpha_pattern, which is longer than {_LONGEST_PATTERN} characters or "
                "counts what is counted; write the layers' names in its place."
            )
        try:
            return regex.fullmatch(rf"(.*\.)?({pattern})", name, timeout=_SECONDS) is not None
        except TimeoutError:
            raise SourceError(
                f"{self.where} has {shown!r} in alpha_pattern, which takes longer than a second to hold to the layer "
                f"{shortened(name, 60)!r}; write the layers' names in its place."
            ) from None
        except (regex.error, RecursionError):
            raise SourceError(f"{self.where} has {shown!r} in alpha_pattern, which is no pattern.") from None


def lora_file(given: Path) -> Path:
    """The file of a LoRA: the path itself, or what diffusers and PEFT call it in a folder. Raises SourceError."""
    if not given.is_dir():
        return given
    names = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
    found = next((given / name for name in names if (given / name).is_file()), None)
    if found is None:
        others = sorted(path.name for path in given.glob("*.safetensors"))
        hint = f"it has {', '.join(others)}: name the file" if others else "name a safetensors file"
        raise SourceError(f"{given} is a folder without {' or '.join(names)}; {hint}.")
    return found
