"""Files of IP-Adapters: which kind one is of, what it takes of an image encoder, and where that encoder lies.

As mindone's `load_ip_adapter` reads them (loaders/ip_adapter.py, loaders/unet.py): `image_proj.*` makes tokens of a
picture, `ip_adapter.N.to_k_ip.weight` and `to_v_ip` make keys and values of these, for every cross-attention of a UNet.
Reads headers only.

Imports `checkpoint`, `folder` and `source` of this package, `attnfuse.errors` and `attnfuse.names`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from attnfuse.errors import SourceError, UsageError
from attnfuse.names import some
from attnfuse.tracing.checkpoint import StoredTensor, read_tensors
from attnfuse.tracing.folder import IMAGE_ENCODER, IpAdapter, read_json
from attnfuse.tracing.source import fetch_files

PROJECTION, ATTENTION = "image_proj.", "ip_adapter."
"""How the names of tensors begin: of what makes tokens of a picture, and of keys and values."""

_KEY_OR_VALUE = re.compile(r"ip_adapter\.\d+\.to_[kv]_ip\.weight")
_OF_FACES = re.compile(r"image_proj\.perceiver_resampler\.|ip_adapter\.\d+\.to_\w+_lora\.")
_PLAIN, _FULL, _PLUS = "proj.weight", "proj.0.weight", "proj_in.weight"
"""The first weight of each kind's projection: of a pooled picture, of all its tokens, of what is made of these."""

_LAST_OF_FULL = "proj.3.weight"
"""Without it, what begins as a full one is of a face (as a rule with a LoRA, by which it is known too)."""

_WIDTHS = {"image_embeds": ("projection_dim", 512), "hidden_states": ("hidden_size", 768)}
"""What a configuration of CLIP's calls the width of what an adapter takes, and transformers' default."""

_ATTENDS = {"CrossAttnDownBlock2D": True, "CrossAttnUpBlock2D": True, "DownBlock2D": False, "UpBlock2D": False}
"""Whether a block of a UNet has cross-attention, of those that Stable Diffusion and XL are made of."""

_MIDDLE = "UNetMidBlock2DCrossAttn"
_PICTURE_TOKENS = 4
"""How many tokens a plain adapter makes of a picture, which mindone has fixed."""

_HUB_FILE = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)/(?P<file>(?:[\w.-]+/)*[\w.-]+\.safetensors)")


@dataclass(frozen=True, slots=True)
class GivenIpAdapter:
    """What a user names: a path, or a file of a hub's repository; and a scale."""

    place: str
    scale: float = 1.0


def parse_ip_adapter(text: str) -> GivenIpAdapter:
    """What `FILE` or `FILE@SCALE` names. Raises UsageError."""
    name, mark, number = text.rpartition("@")
    if not mark or Path(text).exists():
        return GivenIpAdapter(text)
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not name or not math.isfinite(scale):
        raise UsageError(f"--ip-adapter {text}: behind the @ stands a scale, and {number!r} is no finite number.")
    return GivenIpAdapter(name, scale)


def read_ip_adapter(text: str, *, weights: bool = True, offline: bool = False) -> IpAdapter:
    """The IP-Adapter that `FILE[@SCALE]` names, with the image encoder that lies beside it, if one does.

    FILE is a file, a folder that has one, or `ORGANISATION/NAME/PATH.safetensors` of a hub, of whose image encoder no
    weights are fetched without `weights`. Raises UsageError for what is no such text, SourceError for what is no
    IP-Adapter, or one of a kind that is not supported.
    """
    given = parse_ip_adapter(text)
    remote = None if Path(given.place).exists() else _HUB_FILE.fullmatch(given.place)
    if remote is None:
        adapter = _with_encoder(_read(_file(Path(given.place))))
    else:
        repository, name = remote["repository"], remote["file"]
        configs = [f"{place}/config.json" for place in _encoder_places(PurePosixPath(name))]
        root = fetch_files(repository, [name, *configs], offline=offline)
        adapter = _with_encoder(_read(_file(root / name)))
        if weights and adapter.encoder is not None:
            inside = adapter.encoder.relative_to(root).as_posix()
            fetch_files(repository, [f"{inside}/*.json", f"{inside}/*.safetensors"], offline=offline)
    return replace(adapter, scale=given.scale)


def _file(given: Path) -> Path:
    """The file, or the one in a folder. Raises SourceError where there is none, or are several."""
    if given.is_dir():
        found = sorted(path for path in given.rglob("*.safetensors") if IMAGE_ENCODER not in path.parts)
        if len(found) != 1:
            names = ", ".join(path.relative_to(given).as_posix() for path in found)
            held = f"it has {names}: name one of them" if found else "it has no safetensors file"
            raise SourceError(f"{given} is a folder, and an IP-Adapter is one file; {held}.")
        return found[0]
    if not given.is_file():
        raise SourceError(f"the IP-Adapter {given} does not exist, or is no file (a scale stands behind an @).")
    return given


def _read(file: Path) -> IpAdapter:
    """What a file says of itself. Raises SourceError for what is no IP-Adapter, or one that is not supported."""
    tensors = read_tensors((file,))
    first = next((key for key in (_PLAIN, _FULL, _PLUS) if PROJECTION + key in tensors), "")
    of_faces = first == _FULL and PROJECTION + _LAST_OF_FULL not in tensors
    if of_faces or any(_OF_FACES.match(key) for key in tensors):
        raise SourceError(
            f"{file} is a FaceID adapter, which takes what a recogniser of faces makes of a picture; supported are"
            " IP-Adapters of pictures: plain, plus and full."
        )
    keys = [key for key in tensors if _KEY_OR_VALUE.fullmatch(key)]
    others = [key for key in tensors if key not in keys and not key.startswith(PROJECTION)]
    if not keys or others or not first:
        held = some(others or list(tensors)) if tensors else "no tensors"
        raise SourceError(
            f"{file} is no IP-Adapter of a UNet: it has {held}, and such a file has image_proj.proj.weight (or"
            " proj.0.weight, proj_in.weight) and the like, ip_adapter.N.to_k_ip.weight and to_v_ip.weight."
        )
    contexts = {_columns(tensors[key]) for key in keys}
    if len(contexts) > 1:
        raise SourceError(f"{file} has keys and values of several widths; it is of no UNet that is known.")
    width, context = _columns(tensors[PROJECTION + first]), contexts.pop()
    return IpAdapter("image_embeds" if first == _PLAIN else "hidden_states", width, context, file=file)


def _columns(tensor: StoredTensor) -> int:
    """How wide what a linear layer takes is. Raises SourceError for what is no weight of one."""
    if len(tensor.shape) != 2:
        raise SourceError(f"tensor {tensor.key!r} of {tensor.file} has shape {list(tensor.shape)}, and not two axes.")
    return tensor.shape[1]


def _encoder_places(file: PurePosixPath) -> list[PurePosixPath]:
    """Where the image encoder of a file may lie: beside it, as mindone looks for it; or where h94/IP-Adapter has the
    smaller one, which some of its files for XL take."""
    return list(dict.fromkeys([file.parent / IMAGE_ENCODER, file.parent.parent / "models" / IMAGE_ENCODER]))


def _with_encoder(adapter: IpAdapter) -> IpAdapter:
    """The adapter with the first image encoder that gives what it takes.

    Raises SourceError where there are some, and none does.
    """
    assert adapter.file is not None
    places = [Path(place) for place in _encoder_places(PurePosixPath(adapter.file))]
    found = [place for place in places if (place / "config.json").is_file()]
    fitting = [place for place in found if width_of(read_json(place / "config.json"), adapter) == adapter.width]
    if found and not fitting:
        raise SourceError(
            f"{adapter.file} takes {adapter.takes} of width {adapter.width}, and {found[0]} gives such of width"
            f" {width_of(read_json(found[0] / 'config.json'), adapter)}; put the image encoder that it was trained"
            " with there."
        )
    return replace(adapter, encoder=fitting[0] if fitting else None)


def width_of(config: Mapping[str, object], adapter: IpAdapter) -> object:
    """How wide an image encoder's configuration says that it is what the adapter takes of it."""
    key, default = _WIDTHS[adapter.takes]
    return config.get(key, default)


def check_fits(adapter: IpAdapter, unet: Mapping[str, object]) -> None:
    """Raise SourceError where a tensor that mindone takes of the file is absent, of another shape, or no float.

    Shapes follow from the `unet`'s configuration, where it has the blocks of Stable Diffusion or XL, and from the first
    weight of the projection. What is of another width than the UNet's text is for others to tell. For tensors of a
    resampler's layers this is found when they are loaded.
    """
    if adapter.file is None or unet.get("cross_attention_dim") != adapter.context:
        return
    tensors = read_tensors((adapter.file,))
    for key, shape in {**_projection_shapes(tensors, adapter), **_attention_shapes(unet, adapter.context)}.items():
        tensor = tensors.get(key)
        if tensor is None:
            problem = f"{adapter.file} has no tensor {key!r}, which one for this UNet has"
        elif tensor.shape != shape:
            problem = (
                f"tensor {key!r} of {adapter.file} has shape {list(tensor.shape)}, and what fits has {list(shape)}"
            )
        elif "float" not in tensor.dtype:
            problem = f"tensor {key!r} of {adapter.file} is {tensor.dtype}, and no float"
        else:
            continue
        raise SourceError(f"{problem}; the IP-Adapter was made for another model, or is damaged.")


def _projection_shapes(tensors: Mapping[str, StoredTensor], adapter: IpAdapter) -> dict[str, tuple[int, ...]]:
    """What makes tokens of a picture, by name in the file: of mindone's projections (models/embeddings.py), layers of a
    resampler left out."""
    width, text = adapter.width, adapter.context
    if PROJECTION + _PLAIN in tensors:
        rows = _PICTURE_TOKENS * text
        shapes = {"proj.weight": (rows, width), "proj.bias": (rows,), "norm.weight": (text,), "norm.bias": (text,)}
    elif PROJECTION + _FULL in tensors:
        shapes = {"proj.0.weight": (width, width), "proj.0.bias": (width,), "proj.2.weight": (text, width)}
        shapes |= dict.fromkeys(("proj.2.bias", "proj.3.weight", "proj.3.bias"), (text,))
    else:
        inner = tensors[PROJECTION + _PLUS].shape[0]
        shapes = {"proj_in.bias": (inner,), "proj_out.weight": (text, inner)}
        shapes |= dict.fromkeys(("proj_out.bias", "norm_out.weight", "norm_out.bias"), (text,))
    return {PROJECTION + key: shape for key, shape in shapes.items()}


def _attention_shapes(unet: Mapping[str, object], context: int) -> dict[str, tuple[int, ...]]:
    """Keys and values by name in the file, as mindone numbers a UNet's attention: down, up, and the middle last.

    Empty where the configuration has something whose attention is not known.
    """
    channels, layers = unet.get("block_out_channels"), unet.get("layers_per_block")
    down, up = unet.get("down_block_types"), unet.get("up_block_types")
    if not isinstance(channels, list) or not isinstance(layers, int):
        return {}
    if not isinstance(down, list) or not isinstance(up, list) or not len(down) == len(up) == len(channels):
        return {}
    depths = unet.get("transformer_layers_per_block", 1)
    depths = [depths] * len(channels) if isinstance(depths, int) else depths
    odd = any(unet.get(key) for key in ("dual_cross_attention", "reverse_transformer_layers_per_block"))
    if odd or unet.get("mid_block_type", _MIDDLE) != _MIDDLE or unet.get("attention_type", "default") != "default":
        return {}
    if not isinstance(depths, list) or len(depths) != len(channels) or not {*down, *up} <= _ATTENDS.keys():
        return {}
    if not all(isinstance(number, int) for number in (*channels, *depths)):
        return {}
    widths: list[int] = []
    for kind, width, depth in zip(down, channels, depths, strict=True):
        widths += [width] * (layers * depth * _ATTENDS[kind])
    for kind, width, depth in zip(up, reversed(channels), reversed(depths), strict=True):
        widths += [width] * ((layers + 1) * depth * _ATTENDS[kind])
    widths += [channels[-1]] * depths[-1]
    return {
        f"{ATTENTION}{2 * number + 1}.to_{which}_ip.weight": (width, context)
        for number, width in enumerate(widths)
        for which in "kv"
    }
