"""A prompt through the graphs of a folder: the runtime's loop, with its errors as attnfuse's own."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from attnfuse.errors import SourceError, UsageError
from attnfuse.ir.types import Array
from attnfuse.output import MANIFEST, digest, no_output
from attnfuse.pictures import BackendName
from attnfuse.pictures.recording import Call, Recording
from attnfuse_runtime import AttnfuseRuntimeError, films
from attnfuse_runtime.backends import Devices, backend
from attnfuse_runtime.errors import InputError, SchedulerError
from attnfuse_runtime.families import VIDEOS
from attnfuse_runtime.files import read_json
from attnfuse_runtime.films import Films
from attnfuse_runtime.manifest import Manifest, read_manifest
from attnfuse_runtime.pictures import Pictures
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.text_to_image import TextToImage
from attnfuse_runtime.text_to_video import TextToVideo

Stepped = Callable[[int, int], None]
"""Told after each step how many are done, and of how many."""

DECODER = "vae_decoder"
EDITED = "it is not what attnfuse wrote there"

FORMATS: Mapping[str, str] = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Of pictures, by the endings of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to make pictures of: one of each prompt, with noise drawn from `seed`.

    `negative` are none, one for all, or one for each; None leaves the number of steps, or the guidance, to the loop.
    `images`, `masks` and `control_images` are files of pictures: what a picture begins with, where it is made anew,
    and what ControlNets go by, times `control_scales`; `strength` is how much is made anew. Films begin with the first
    of `images`, and end with the second.
    `looked_at` is the picture for an IP-Adapter, `ip_adapter_scale` its scale, None the one it was compiled with.
    """

    prompts: tuple[str, ...]
    negative: tuple[str, ...] = ()
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    images: tuple[Path, ...] = ()
    masks: tuple[Path, ...] = ()
    strength: float | None = None
    control_images: tuple[Path, ...] = ()
    control_scales: tuple[float, ...] = ()
    looked_at: Path | None = None
    ip_adapter_scale: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The latents after a step, float32 [pictures, …]."""

    timestep: float
    latents: Array


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run: pictures or films, the latents after each step, what each component was fed and gave."""

    found: Pictures | Films
    steps: tuple[Step, ...]
    calls: Mapping[str, list[Call]]
    scheduler: str


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Errors of the runtime as those that the command line knows: UsageError for arguments, else SourceError."""
    try:
        yield
    except (InputError, SchedulerError) as error:
        raise UsageError(str(error)) from None
    except AttnfuseRuntimeError as error:
        raise SourceError(str(error)) from None


def run_folder(
    folder: Path,
    asked: Asked,
    name: BackendName = "cpu",
    devices: Devices = None,
    size: tuple[int, int] | None = None,
    stepped: Stepped | None = None,
) -> Ran:
    """Pictures of the graphs in an output folder.

    `size` is the width and height that the pictures are to have, which must be compiled. Raises SourceError
    where the folder is none that runs, or a graph fails; UsageError for arguments that do not fit it.
    """
    if not (folder / MANIFEST).is_file():
        raise SourceError(f"{no_output(folder)}.")
    with own_errors():
        manifest = read_manifest(folder)
        check_size(manifest, size)
        Pipeline.from_folder(folder, name, devices)  # which looks whether the backend is for what was compiled
        recording = Recording(backend(name, devices))
        return run_pipeline(Pipeline(manifest, recording), recording, folder, asked, stepped, size)


def run_pipeline(
    pipeline: Pipeline,
    recording: Recording,
    source: Path,
    asked: Asked,
    stepped: Stepped | None = None,
    size: tuple[int, int] | None = None,
) -> Ran:
    """Pictures of a pipeline whose graphs `recording` runs; `source` has its scheduler and tokenizers. Of several
    sizes, `size` is the width and height; None is the first. Raises as `run_folder`."""
    steps: list[Step] = []

    def keep(number: int, timestep: float, latents: Array) -> None:
        steps.append(Step(timestep, latents.copy()))
        if stepped is not None:
            stepped(len(steps), len(loop.scheduler.timesteps))

    further: dict[str, Any] = {} if asked.steps is None else {"steps": asked.steps}
    further |= {} if size is None else {"width": size[0], "height": size[1]}
    filmed = makes_films(source)
    further |= _shown(asked) if filmed else _pictured(asked)
    # Latents that are not finite are for the caller to tell of.
    with own_errors(), np.errstate(invalid="ignore", over="ignore"):
        loop = TextToVideo(pipeline, source) if filmed else TextToImage(pipeline, source)
        found: Pictures | Films = loop(
            list(asked.prompts),
            _negative(asked),
            seed=asked.seed,
            guidance_scale=asked.guidance_scale,
            callback=keep,
            progress=False,  # told by `stepped`
            **further,
        )
    return Ran(found, tuple(steps), recording.calls, type(loop.scheduler).__name__)


def makes_films(folder: Path) -> bool:
    """Whether the pipeline in a folder makes films, as its model_index.json tells, if there is one."""
    index = folder / "model_index.json"
    with own_errors():
        name = read_json(index).get("_class_name") if index.is_file() else None
    return isinstance(name, str) and name in VIDEOS


def _shown(asked: Asked) -> dict[str, Any]:
    """The arguments of the loop that makes films: the pictures that they begin and end with."""
    if others := [name for name, value in (("--mask", asked.masks), ("--strength", asked.strength)) if value]:
        raise UsageError(f"{' and '.join(others)} are for pictures, and the pipeline makes films; leave them out.")
    if asked.control_images or asked.control_scales:
        raise UsageError("there are no ControlNets for films; leave out --control-image and --control-scale.")
    if asked.looked_at is not None or asked.ip_adapter_scale is not None:
        raise UsageError("there are no IP-Adapters for films; leave out --ip-adapter-image and --ip-adapter-scale.")
    if len(asked.images) > 2:
        raise UsageError(
            f"--image is given {len(asked.images)} times; a film begins with one, and may end with another."
        )
    return {name: opened(path) for name, path in zip(("image", "last_image"), asked.images, strict=False)}


def _pictured(asked: Asked) -> dict[str, Any]:
    """The arguments of the loop that are pictures, and what goes with them."""
    files = {"image": asked.images, "mask": asked.masks, "control_image": asked.control_images}
    found: dict[str, Any] = {name: [opened(path) for path in paths] for name, paths in files.items() if paths}
    if asked.strength is not None:
        found["strength"] = asked.strength
    if asked.looked_at is not None:
        found["ip_adapter_image"] = opened(asked.looked_at)
    if asked.ip_adapter_scale is not None:
        found["ip_adapter_scale"] = asked.ip_adapter_scale
    if len(asked.control_scales) == 1:
        (found["control_scale"],) = asked.control_scales
    elif asked.control_scales:
        found["control_scale"] = [*asked.control_scales]
    return found


def opened(path: Path) -> Image.Image:
    """The picture in a file. Raises UsageError where there is none."""
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe would be waited for
        raise UsageError(f"the picture {path} is no file; give a PNG or JPEG.")
    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except UnidentifiedImageError:
        raise UsageError(f"{path} is no picture that Pillow reads; give a PNG or JPEG.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"the picture {path} cannot be read: {said}.") from None


def edited_files(manifest: Manifest, names: Collection[str]) -> list[str]:
    """Of these components' graphs and weights, and of what is from the pipeline, the files that compile did not write:
    whose SHA-256 is not the manifest's."""
    written = json.loads((manifest.folder / MANIFEST).read_bytes())["outputs"]
    paths = [path for name in names for one in (manifest.components[name],) for path in (one.graph, *one.variables)]
    files = [path.relative_to(manifest.folder).as_posix() for path in paths] + list(manifest.pipeline.get("files", ()))
    return [file for file in files if digest(manifest.folder / file).sha256 != written.get(file, {}).get("sha256")]


def check_size(manifest: Manifest, size: tuple[int, int] | None) -> None:
    """Raise UsageError where no graphs are for pictures of that width and height."""
    decoders = [one for name, one in manifest.components.items() if DECODER in (name, one.base)]
    if size is None or not decoders:
        return
    sizes = dict.fromkeys((width, height) for one in decoders for height, width in [one.outputs[0].shape[-2:]])
    if size not in sizes:
        there = ", ".join(f"{width}x{height}" for width, height in sizes)
        wanted = f"--width {size[0]} --height {size[1]}" if len(sizes) == 1 else f"--size {size[0]}x{size[1]} too"
        raise UsageError(
            f"{manifest.folder} was compiled for pictures of {there}, and --size asks for "
            f"{size[0]}x{size[1]}: compile it again with {wanted}."
        )


def check_finite(ran: Ran) -> None:
    """Raise SourceError where the latents of a run, or what the decoder made of them, hold numbers that are none: its
    pictures show nothing."""
    for number, step in enumerate(ran.steps):
        if not np.isfinite(step.latents).all():
            raise SourceError(
                f"the latents after step {number + 1} are not finite, as a graph overflows or its weights are damaged; "
                "attnfuse compare tells in which component they begin."
            )
    for call in (call for name, calls in ran.calls.items() if name.startswith(DECODER) for call in calls):
        for name, value in (*call.inputs.items(), *call.outputs.items()):
            if not np.isfinite(value).all():
                raise SourceError(
                    f"the latents are finite, but not the {name} of {DECODER}, as the graph overflows, or weights or "
                    "scaling_factor in vae/config.json are damaged: attnfuse compare tells whether the source's own "
                    "graph overflows too; if so, compile it with --dtype vae=float32."
                )


def encoded(image: Image.Image, file: Path) -> bytes:
    """The bytes of a picture file, in the format of its ending, one of `FORMATS`."""
    content = io.BytesIO()
    image.save(content, FORMATS[file.suffix.lower()])
    return content.getvalue()


def contents(found: Pictures | Films, files: list[Path]) -> list[bytes]:
    """The bytes of a file for each picture, or each film, in the format of its ending."""
    if isinstance(found, Films):
        each = zip(found.films, files, strict=True)
        return [films.encoded(film, file.suffix, found.frame_rate) for film, file in each]
    return [encoded(image, file) for image, file in zip(found.images, files, strict=True)]


def numbered(file: Path, count: int) -> list[Path]:
    """The files of so many pictures: `picture.png`, or `picture_0.png` and on."""
    return [file] if count == 1 else [file.with_stem(f"{file.stem}_{number}") for number in range(count)]


def ran_document(asked: Asked, ran: Ran, files: list[Path]) -> dict[str, Any]:
    """What a run came to, as JSON: `attnfuse.run/1`. Milliseconds are those of each stage, all its runs together."""
    return {
        "schema": "attnfuse.run/1",
        "pictures": [str(file) for file in files],
        "size": list(ran.found.images[0].size),
        "frames": len(ran.found.films[0]) if isinstance(ran.found, Films) else None,
        "prompts": list(asked.prompts),
        "not_seen": list(ran.found.cut),
        "negative_prompts": list(asked.negative),
        "images": [str(file) for file in asked.images],
        "masks": [str(file) for file in asked.masks],
        "strength": asked.strength,
        "control_images": [str(file) for file in asked.control_images],
        "control_scales": list(asked.control_scales),
        "seed": asked.seed,
        "steps": len(ran.steps),
        "guidance_scale": asked.guidance_scale,
        "ip_adapter_image": None if asked.looked_at is None else str(asked.looked_at),
        "ip_adapter_scale": asked.ip_adapter_scale,
        "scheduler": ran.scheduler,
        "milliseconds": {name: round(value, 3) for name, value in ran.found.milliseconds.items()},
    }


def _negative(asked: Asked) -> str | list[str] | None:
    if not asked.negative:
        return None
    return asked.negative[0] if len(asked.negative) == 1 else list(asked.negative)
