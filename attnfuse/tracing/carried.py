"""What an output has of its source beside graphs and weights: configurations, the scheduler's, tokenizers; no weights.

They keep the places that diffusers gives them (`model_index.json`, `scheduler/scheduler_config.json`, ...), so that a
loop reads them in the output as it would in the source. A tokenizer without a `tokenizer.json` gets one.

Imports `checkpoint`, `contract`, `folder`, `source` and `tokenizer_files` of this package, `attnfuse.documents` and the
standard library.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnfuse import documents
from attnfuse.tracing.checkpoint import read_values, stored_tensors
from attnfuse.tracing.contract import SizeFacts
from attnfuse.tracing.folder import SINGLE, VAE, Config, PipelineFolder, read_pipeline, with_vae
from attnfuse.tracing.source import origin
from attnfuse.tracing.tokenizer_files import NotMadeError, make_tokenizer

INDEX = "model_index.json"
CONFIGS = ("config.json", "scheduler_config.json", "preprocessor_config.json")
TOKENIZER = "tokenizer.json"
TOKENIZERS = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "chat_template.jinja",
)
"""Files that transformers' tokenizers are read from."""
MOST_BYTES = 64 * 2**20
"""Of one file: the largest `tokenizer.json` that is known, Gemma's, has about 35 MB."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

MakeTokenizer = Callable[[Path, str], bytes]


@dataclass(frozen=True, slots=True)
class VaeFacts:
    """What a loop needs to know of the VAE; None where its configuration does not say.

    Latents are divided by `scaling_factor`, and `shift_factor` added, before they are decoded. `scale_factor` is pixels
    per latent, along either side. `latents_mean` and `latents_std` are the mean and the deviation of each channel of
    latents, which some autoencoders have in their configuration, and LTX-Video's among its weights.
    """

    scaling_factor: float | None = None
    shift_factor: float | None = None
    latent_channels: int | None = None
    scale_factor: int | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class PipelineFacts:
    """What the source says of the pipeline.

    `class_name` is null for a single model. `source` is a hub id or `demo:NAME`, `revision` the commit of a hub's
    repository; null for any other folder. `height` and `width` are pixels, `frames` those of a video, `guidance_rows`
    the rows of the denoiser for an image: what its components were planned with, null where none was. `sizes` are those
    it was compiled for, the first of them these, where they are several.
    """

    class_name: str | None = None
    source: str | None = None
    revision: str | None = None
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    guidance_rows: int | None = None
    vae: VaeFacts | None = None
    sizes: tuple[SizeFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class Carried:
    """Files by their name in the output, what they say, and what the user is to be told of them."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: PipelineFacts = PipelineFacts()
    warnings: tuple[str, ...] = ()


class _LeftOutError(Exception):
    """Why a file is not taken."""


def carried(
    folder: Path,
    sizes: Mapping[str, int],
    model: str = "",
    several: Sequence[SizeFacts] = (),
    make: MakeTokenizer = make_tokenizer,
    vae: Path | None = None,
) -> Carried:
    """What an output has of the pipeline folder, or of the folder of the single model that a pipeline calls `model`.

    `sizes` are those its components were planned with, `several` all of them where it is compiled for more; `vae` is
    the folder of a VAE in place of the pipeline's. A link is followed to another file of the folder, or of the hub
    cache that it is a snapshot in. Raises SourceError for what is no such folder.
    """
    pipeline = read_pipeline(folder)
    if SINGLE in pipeline.classes and not pipeline.class_name:
        pipeline = pipeline.named(model or SINGLE)
    if vae is not None:
        pipeline = with_vae(pipeline, vae)
    files: dict[str, bytes] = {}
    warnings: list[str] = []
    left_out: dict[str, str] = {}
    for name, path in _places(pipeline):
        try:
            files[name] = _content(path, (*_own_roots(folder), *(() if vae is None else _own_roots(vae))))
        except FileNotFoundError:
            continue
        except _LeftOutError as error:
            warnings.append(f"{name} of the source is not in the output: {error}")
            left_out.setdefault(name.partition("/")[0], name)
    if vae is not None and INDEX in files:
        files[INDEX] = _index_with(VAE, pipeline, files[INDEX])
    for name, class_name in pipeline.classes.items():
        own = {file: files[f"{name}/{file}"] for file in TOKENIZERS if f"{name}/{file}" in files}
        if own and TOKENIZER not in own:
            try:
                if name in left_out:  # what it says of tokens is not known
                    raise NotMadeError(f"{left_out[name]} was left out")
                files[f"{name}/{TOKENIZER}"] = _made_tokenizer(name, class_name, own, make)
            except NotMadeError as error:
                warnings.append(
                    f"no {name}/{TOKENIZER} was made, which attnfuse-runtime reads texts with: {error}; put one there"
                )
    return Carried(dict(sorted(files.items())), _facts(pipeline, files, sizes, several), tuple(warnings))


def _index_with(model: str, pipeline: PipelineFolder, content: bytes) -> bytes:
    """A model_index.json that names the class that a part has now; as it lies where it does already."""
    index = documents.parse(content.decode(), "JSON")
    entry = [pipeline.libraries[model], pipeline.classes[model]]
    if index[model] == entry:
        return content
    return (json.dumps({**index, model: entry}, indent=2, ensure_ascii=False) + "\n").encode()


def _places(pipeline: PipelineFolder) -> Iterator[tuple[str, Path]]:
    """Each file that there may be, by its name in the output."""
    if pipeline.class_name:
        yield INDEX, pipeline.root / INDEX
    for name, folder in pipeline.folders.items():
        if _PLAIN_NAME.fullmatch(name):
            for file in (*CONFIGS, *TOKENIZERS) if "Tokenizer" in pipeline.classes[name] else CONFIGS:
                yield f"{name}/{file}", folder / file


def _own_roots(folder: Path) -> tuple[Path, ...]:
    """Where a file of the folder may lie: in it, or, for a snapshot of a hub cache, or a folder of one, among that
    repository's blobs."""
    root = folder.resolve()
    found = [
        place.parents[1] / "blobs"
        for place in (root, *root.parents)
        if place.parent.name == "snapshots" and place.parents[1].name.startswith("models--")
    ]
    return (root, *found)


def _content(path: Path, roots: tuple[Path, ...]) -> bytes:
    """A regular file's bytes. Raises FileNotFoundError where there is none, _LeftOutError where it is not taken."""
    try:
        found = path.resolve(strict=True)
        if not any(found.is_relative_to(root) for root in roots):
            raise _LeftOutError("it is a link that leads out of the folder; put the file itself there")
        with os.fdopen(os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            known = os.fstat(file.fileno())
            if not stat.S_ISREG(known.st_mode):
                raise _LeftOutError("it is no regular file")
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise FileNotFoundError from None
        raise _LeftOutError(f"it cannot be read ({error.strerror or error})") from None
    except RuntimeError:  # of Path.resolve, for links in a circle
        raise _LeftOutError("it is a link that leads to itself") from None
    if len(content) > MOST_BYTES:
        raise _LeftOutError(f"it has more than {MOST_BYTES // 2**20} MiB")
    return content


def _made_tokenizer(name: str, class_name: str, own: Mapping[str, bytes], make: MakeTokenizer) -> bytes:
    """Made of the files that are carried, not of the source's folder: of those alone is known where they lie."""
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
        for file, content in own.items():
            (Path(work) / file).write_bytes(content)
        try:
            return make(Path(work), class_name)
        except NotMadeError as error:
            raise NotMadeError(str(error).replace(work, name)) from None


def _facts(
    pipeline: PipelineFolder, files: Mapping[str, bytes], sizes: Mapping[str, int], several: Sequence[SizeFacts]
) -> PipelineFacts:
    where, revision = origin(pipeline.root)
    rows = sizes["rows"] // sizes["batch"] if "rows" in sizes and sizes.get("batch") else None
    return PipelineFacts(
        pipeline.class_name or None,
        where,
        revision,
        sizes.get("height"),
        sizes.get("width"),
        sizes.get("frames"),
        rows,
        _vae(files["vae/config.json"], sizes, pipeline.folders[VAE]) if "vae/config.json" in files else None,
        tuple(several),
    )


def _vae(content: bytes, sizes: Mapping[str, int], folder: Path) -> VaeFacts | None:
    try:
        config = documents.parse(content.decode(), "JSON")
    except ValueError:  # who traces it says so
        return None
    if not isinstance(config, dict):
        return None
    blocks = config.get("block_out_channels")
    scale = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else None
    if sizes.get("latent_height") and "height" in sizes:
        scale = sizes["height"] // sizes["latent_height"]
    channels = _number(config, "latent_channels", "z_dim")
    return VaeFacts(
        _number(config, "scaling_factor"),
        _number(config, "shift_factor"),
        int(channels) if channels is not None and channels.is_integer() else None,
        scale,
        *(_of_channels(config, name, folder) for name in ("latents_mean", "latents_std")),
    )


def _of_channels(config: Config, name: str, folder: Path) -> tuple[float, ...] | None:
    """Numbers of each channel of latents, of the configuration, or else of the weights."""
    told = config.get(name)
    if isinstance(told, list) and told and all(_number({name: one}, name) is not None for one in told):
        return tuple(map(float, told))
    tensor = stored_tensors(folder, "diffusers").get(name)
    if tensor is None or len(tensor.shape) != 1:
        return None
    return tuple(float(one) for one in read_values(tensor))


def _number(config: Config, *keys: str) -> float | None:
    """The first of these options that is a number, finite in float64."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
    return None
