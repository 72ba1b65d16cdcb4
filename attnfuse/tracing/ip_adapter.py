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
