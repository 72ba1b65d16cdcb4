"""Reads the JSON of a pipeline folder: what model_index.json names, each part's config.json, numbers out of them.

Imports `attnfuse.documents`, `attnfuse.errors`, `attnfuse.names` and the standard library; no MindSpore.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from attnfuse import documents
from attnfuse.errors import SourceError, UsageError
from attnfuse.names import shortened

Config = Mapping[str, Any]

SEVERAL = ("MultiAdapter", "MultiControlNetModel", "MultiControlNetUnionModel")
"""Classes that hold several models of a kind, in folders beside each other: NAME, NAME_1 and so on."""

_LISTS = ("pag_applied_layers",)
"""Options of pipelines that are lists of texts, of which two are no library and class."""

SINGLE = "model"
"""The attribute of a model that stands alone."""

VAE = "vae"
"""The attribute of a pipeline's autoencoder."""

UNET, IMAGE_ENCODER = "unet", "image_encoder"
"""The attributes of what an IP-Adapter is given to, and of what looks at its picture."""


@dataclass(frozen=True, slots=True)
class IpAdapter:
    """An IP-Adapter: a UNet's attention to a picture beside the text (mindone's `loaders/ip_adapter.py`).

    `takes` is what its projection is given of the image encoder: "image_embeds", the projection of its pooled state, or
    "hidden_states", those of its last layer but one; `width` is how wide these are, `context` the states of the text
    beside it. `scale` is what the attention to the picture is multiplied with where a run says nothing, for it is an
    input; `fixed_scales` are those that a live UNet has of its attentions, where they differ, and the graph has them.
    `file` (with its `sha256`) is None for one that a live UNet holds, `encoder` the folder of an image encoder that
    comes with the file.
    """

    takes: Literal["image_embeds", "hidden_states"]
    width: int
    context: int
    scale: float = 1.0
    fixed_scales: tuple[float, ...] = ()
    file: Path | None = None
    sha256: str = ""
    encoder: Path | None = None


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """A model_index.json: the class of the pipeline and, by attribute, the class and folder of each part.

    `class_name` is empty for a folder that holds a single model, whose attribute is then `SINGLE`: what it is called
    in a pipeline is for the table of specifications to say. `libraries` are as model_index.json names them, `options`
    what else it says. `own_code` is the file of a pipeline that the folder brings itself, which is never run.
    `checkpoint` is a single file with weights of the parts `in_checkpoint`, in place of those in their folders;
    `ip_adapter` what its UNet is given.
    """

    root: Path
    class_name: str
    classes: Mapping[str, str]
    libraries: Mapping[str, str]
    options: Mapping[str, Any]
    folders: Mapping[str, Path]
    own_code: str = ""
    checkpoint: Path | None = None
    in_checkpoint: tuple[str, ...] = ()
    ip_adapter: IpAdapter | None = None

    def checkpoint_of(self, model: str) -> Path | None:
        """The single file that has a part's weights, if one has."""
        return self.checkpoint if model in self.in_checkpoint else None

    def own_code_of(self, model: str) -> str:
        """The file of a part's class that the folder brings itself, from its root; nothing where it does not."""
        files = (f"{model}/{self.libraries[model]}.py", f"{self.libraries[model]}.py")
        own = _can_be_called(f"{self.libraries[model]}.py")
        return next((file for file in files if own and (self.root / file).is_file()), "")

    def named(self, model: str) -> PipelineFolder:
        """A single model's folder, with the model under the attribute it would have in a pipeline."""
        (kind,), (library,), (folder,) = self.classes.values(), self.libraries.values(), self.folders.values()
        return PipelineFolder(self.root, "", {model: kind}, {model: library}, {}, {model: folder})


@dataclass(frozen=True, slots=True)
class Configs(Mapping[str, Config]):
    """The configurations of a pipeline's parts, by attribute.

    One that is damaged raises its SourceError where it is asked for, not before: what has no need of it is not lost.
    """

    read: Mapping[str, Config] = field(default_factory=dict)
    damaged: Mapping[str, SourceError] = field(default_factory=dict)

    def __getitem__(self, model: str) -> Config:
        if model in self.damaged:
            raise self.damaged[model]
        return self.read[model]

    def __iter__(self) -> Iterator[str]:
        yield from self.read
        yield from self.damaged

    def __len__(self) -> int:
        return len(self.read) + len(self.damaged)

    def __contains__(self, model: object) -> bool:
        return model in self.read or model in self.damaged


def read_pipeline(folder: Path) -> PipelineFolder:
    """Read a pipeline folder, or a single model's; SourceError for anything else."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder.")
    index = folder / "model_index.json"
    if index.is_file():
        entries = read_json(index)
        parts = {
            name: entry
            for name, entry in entries.items()
            if not name.startswith("_")
            and name not in _LISTS
            and isinstance(entry, list)
            and len(entry) == 2
            and all(isinstance(part, str) for part in entry)
        }
        for name in parts:
            if not _can_be_called(name):
                raise SourceError(
                    f"{index} has a part {shortened(repr(name), 60)}, and no folder beside it can be called that."
                )
        parts = dict(_each(folder, parts))
        named = entries.get("_class_name") or "without a name"
        own = isinstance(named, list) and len(named) == 2 and all(isinstance(part, str) for part in named)
        return PipelineFolder(
            folder,
            str(named[1] if own else named),
            {name: class_name for name, (_, class_name) in parts.items()},
            {name: library for name, (library, _) in parts.items()},
            {name: value for name, value in entries.items() if name not in parts},
            {name: folder / name for name in parts},
            f"{named[0]}.py" if own else "",
        )
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json")
        architectures = config.get("architectures") or [None]
        if not isinstance(architectures, list):
            raise SourceError(
                f"{folder / 'config.json'}: architectures is {shortened(repr(architectures), 60)}, and no list."
            )
        library = "diffusers" if "_class_name" in config else "transformers"
        class_name = str(config.get("_class_name", architectures[0]))
        return PipelineFolder(folder, "", {SINGLE: class_name}, {SINGLE: library}, {}, {SINGLE: folder})
    raise SourceError(
        f"{folder} is not a diffusers pipeline folder: it has no model_index.json (nor a config.json of one model)."
    )


def with_vae(pipeline: PipelineFolder, folder: Path) -> PipelineFolder:
    """The pipeline with the VAE of another folder.

    Raises SourceError as `read_pipeline`, UsageError where the pipeline has none.
    """
    if VAE not in pipeline.classes:
        raise UsageError(f"{pipeline.root} has no {VAE} that another could take the place of; drop --vae.")
    own = read_pipeline(folder).named(VAE)
    return replace(
        pipeline,
        classes={**pipeline.classes, **own.classes},
        libraries={**pipeline.libraries, **own.libraries},
        folders={**pipeline.folders, **own.folders},
    )


def with_ip_adapter(pipeline: PipelineFolder, adapter: IpAdapter) -> PipelineFolder:
    """The pipeline with an IP-Adapter, and the image encoder that comes with it where it has none."""
    found = replace(pipeline, ip_adapter=adapter)
    if adapter.encoder is None or IMAGE_ENCODER in pipeline.classes or not pipeline.class_name:
        return found
    return replace(
        found,
        classes={**pipeline.classes, IMAGE_ENCODER: "CLIPVisionModelWithProjection"},
        libraries={**pipeline.libraries, IMAGE_ENCODER: "transformers"},
        folders={**pipeline.folders, IMAGE_ENCODER: adapter.encoder},
    )


def _each(folder: Path, parts: Mapping[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
    """The parts, each of several in one by itself, of the class that its configuration names.

    So mindone's `save_pretrained` writes them, and `from_pretrained` finds them.
    """
    for name, (library, class_name) in parts.items():
        several = class_name in SEVERAL
        yield name, ["diffusers", _class_in(folder / name)] if several else [library, class_name]
        for number in itertools.count(1) if several else ():
            one = f"{name}_{number}"
            if not (folder / one).is_dir():
                break
            yield one, ["diffusers", _class_in(folder / one)]


def _class_in(folder: Path) -> str:
    return str(read_json(folder / "config.json").get("_class_name"))


def sibling_of(model: str) -> str:
    """The part whose kind a part is of: "controlnet" for the second of several, "controlnet_1"; itself for others."""
    name, _, number = model.rpartition("_")
    return name if number.isdigit() and name in ("adapter", "controlnet") else model


def _can_be_called(name: str) -> bool:
    """Whether a file or folder of a folder can have that name: it leads nowhere else, and Linux takes 255 bytes."""
    is_text = name == name.encode(errors="ignore").decode()  # a JSON string may have half of a surrogate pair
    is_one = name not in ("", "..") and Path(name).name == name
    return is_text and is_one and "\0" not in name and len(name.encode()) <= 255


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; SourceError where there is none."""
    try:
        value = documents.parse(documents.read_text(path), "JSON")
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {documents.reason(error)}.") from None
    if not isinstance(value, dict):
        raise SourceError(f"{path} does not hold a JSON object.")
    return value


def numbers_of(config: Config, key: str, path: Path) -> list[int]:
    """Read a positive whole number, or a list of them, as a list; SourceError, naming `path`, for anything else."""
    value = config.get(key)
    values: list[Any] = value if isinstance(value, list) else [value]
    if not values or not all(
        isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in values
    ):
        raise SourceError(f"{path}: {key} is {json.dumps(value)}, not a positive number or a list of them.")
    return values


def number_of(config: Config, key: str, path: Path) -> int:
    """Read one positive whole number; SourceError for anything else."""
    values = numbers_of(config, key, path)
    if len(values) != 1:
        raise SourceError(f"{path}: {key} is {values}, not one number.")
    return values[0]
