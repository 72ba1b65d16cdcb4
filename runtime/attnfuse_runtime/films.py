"""Films, what comes with them, and the pictures that they are made of."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from attnfuse_runtime.errors import FolderError, InputError
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pictures import pictures

FORMATS: Final[Mapping[str, Mapping[str, Any]]] = {
    ".webp": {"format": "WEBP", "lossless": True},
    ".png": {"format": "PNG"},
    ".gif": {"format": "GIF"},
}
"""What Pillow writes films as, by the endings of files. All frames are kept as they are but in GIF, of 256 colours."""


@dataclass(frozen=True)
class Films:
    """What came of prompts: films, each of its frames, and the latents they were decoded from.

    `frame_rate` is how many frames a second the pipeline makes. `cut` is what was left out of each prompt;
    `milliseconds` is what each stage took, all its runs together.
    """

    films: list[list[Image.Image]]
    frame_rate: int
    latents: Array
    cut: tuple[str, ...]
    milliseconds: Mapping[str, float]

    @property
    def images(self) -> list[Image.Image]:
        """The frames of all films, one after the other."""
        return [frame for film in self.films for frame in film]


def films(videos: Array) -> list[list[Image.Image]]:
    """The frames of arrays [films, 3, frames, height, width] from −1 to 1."""
    return [pictures(one.transpose(1, 0, 2, 3)) for one in videos]


def encoded(film: Sequence[Image.Image], ending: str, frame_rate: int) -> bytes:
    """The bytes of a file of one film, in the format of its ending, one of `FORMATS`."""
    content = io.BytesIO()
    first, *others = film
    # Whole milliseconds, which come to the film's time. Pillow shows a frame longer where the next is the same.
    ends = [round(1000 * number / frame_rate) for number in range(len(film) + 1)]
    durations = [end - start for start, end in zip(ends, ends[1:])]
    first.save(content, save_all=True, append_images=others, duration=durations, loop=0, **FORMATS[ending.lower()])
    return content.getvalue()


def pixels(image: Image.Image, height: int, width: int) -> Array:
    """A picture as a VAE's encoder takes it, float32 [1, 3, height, width] from −1 to 1: mindone's VaeImageProcessor.

    One of another size is made larger or smaller, whatever its proportions. Raises InputError for what is no picture.
    """
    if not isinstance(image, Image.Image):
        raise InputError(f"an image is a {type(image).__name__}; give a picture of Pillow's.")
    found = image.convert("RGB")
    if found.size != (width, height):
        found = found.resize((width, height), Image.Resampling.LANCZOS)
    levels = np.asarray(found, np.float32) / np.float32(255)
    return (np.float32(2) * levels - np.float32(1)).transpose(2, 0, 1)[None]


@dataclass(frozen=True)
class ImageProcessor:
    """A picture as CLIP's image encoders take it: transformers' CLIPImageProcessor.

    `size` is the shortest side, or height and width, that a picture is given; `crop` the height and width that are left
    of it. None where it is left out.
    """

    size: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: int
    rescale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ImageProcessor:
        """The processor of a `preprocessor_config.json`. Raises FolderError where it is no such configuration."""
        try:
            size, crop = config["size"], config["crop_size"]
            sides = (int(size["height"]), int(size["width"])) if isinstance(size, dict) and "height" in size else None
            shortest = size["shortest_edge"] if isinstance(size, dict) and sides is None else size
            square = crop if isinstance(crop, dict) else {"height": crop, "width": crop}
            if not (config.get("do_rescale", True) and config.get("do_normalize", True)):
                raise ValueError
            return cls(
                (sides or int(shortest)) if config.get("do_resize", True) else None,
                (int(square["height"]), int(square["width"])) if config.get("do_center_crop", True) else None,
                int(config.get("resample", Image.Resampling.BICUBIC)),
                float(config.get("rescale_factor", 1 / 255)),
                tuple(map(float, config["image_mean"])),
                tuple(map(float, config["image_std"])),
            )
        except (KeyError, TypeError, ValueError):
            raise FolderError(
                "the image processor's preprocessor_config.json is none of CLIP's; copy it again."
            ) from None

    def __call__(self, image: Image.Image) -> Array:
        """float32 [1, 3, height, width]. Raises InputError for a picture that is smaller than what is cut out of it."""
        found = image.convert("RGB")
        if isinstance(self.size, tuple):
            found = found.resize(self.size[::-1], Image.Resampling(self.resample))
        elif self.size is not None:
            short = min(found.size)
            # transformers cuts the longer side off to whole pixels.
            sides = tuple(self.size if side == short else int(self.size * side / short) for side in found.size)
            found = found.resize((sides[0], sides[1]), Image.Resampling(self.resample))
        array = np.asarray(found)
        if self.crop is not None:
            top, left = ((size - wanted) // 2 for size, wanted in zip(array.shape, self.crop))
            if top < 0 or left < 0:
                raise InputError(f"the image is {image.width}x{image.height} pixels, too small for the image encoder.")
            array = array[top : top + self.crop[0], left : left + self.crop[1]]
        levels = (array.astype(np.float64) * self.rescale).astype(np.float32)
        normed = (levels - np.asarray(self.mean, np.float32)) / np.asarray(self.deviation, np.float32)
        return np.asarray(normed.transpose(2, 0, 1)[None], np.float32)
