"""Pictures that a run begins with, keeps part of, or goes by: looked at, and as the arrays that graphs take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np
from PIL import Image

from attnfuse_runtime.errors import InputError
from attnfuse_runtime.noise import Array

Images = Union[Image.Image, Sequence[Image.Image], None]
"""One for all prompts, or one for each."""
Number = Union[float, Sequence[float], None]
"""One for all ControlNets, or one for each."""


@dataclass(frozen=True)
class Control:
    """What a ControlNet goes by.

    `picture` is float32 [1 or pictures, 3, height, width] from 0 to 1; `scale` is what its outputs are multiplied with,
    from the share `start` of the steps to the share `end`, None for the pipeline's own.
    """

    picture: Array
    scale: float | None = None
    start: float = 0.0
    end: float = 1.0

    def scale_at(self, number: int, total: int, own: float) -> float:
        """The scale at a step, 0 where it is left out; `own` is that of the pipeline."""
        if number / total < self.start or (number + 1) / total > self.end:
            return 0.0
        return own if self.scale is None else self.scale


@dataclass(frozen=True)
class Given:
    """The pictures of a run.

    `image` is float32 [1 or pictures, 3, height, width] from −1 to 1. `mask` is float32 [1 or pictures, 1, height,
    width]: 1 where something new is to be, 0 where the image stays. `strength` is how much of it is made anew, from 0
    to 1, None for the pipeline's own.
    """

    image: Array | None = None
    mask: Array | None = None
    controls: tuple[Control, ...] = ()
    strength: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that were given."""
        known = {"image": self.image is not None, "mask": self.mask is not None, "control_image": self.controls}
        return tuple(name for name, there in known.items() if there)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the first picture; None where there is none."""
        arrays = [self.image, self.mask, *(one.picture for one in self.controls)]
        return next(((one.shape[2], one.shape[3]) for one in arrays if one is not None), None)

    def check(self, height: int, width: int) -> None:
        """Raise InputError for a picture of another size than this."""
        arrays = [("image", self.image), ("mask", self.mask)]
        arrays += [("control_image", one.picture) for one in self.controls]
        for name, one in arrays:
            if one is not None and one.shape[2:] != (height, width):
                raise InputError(
                    f"the {name} is {one.shape[3]}x{one.shape[2]} pixels, and the pictures that are made of it "
                    f"{width}x{height}; give one of that size."
                )


def taken(
    count: int,
    *,
    image: Images = None,
    mask: Images = None,
    strength: float | None = None,
    control_image: Images = None,
    controls: int = 0,
    control_scale: Number = None,
    control_start: Number = None,
    control_end: Number = None,
) -> Given:
    """The pictures of a run that makes `count`, with so many ControlNets.

    With one ControlNet, `control_image` is one picture or one for each prompt; with several, one for each of them.
    Raises InputError for arguments that do not fit.
    """
    if mask is not None and image is None:
        raise InputError("a mask was given without an image; give what it is a mask of.")
    if strength is not None:
        if not 0 <= strength <= 1:
            raise InputError(f"strength is {strength}; give a number from 0 to 1.")
        if image is None:
            raise InputError(f"strength is {strength}, and there is no image; give one, or leave it out.")
    return Given(
        _arrays("image", image, count, _colours),
        _arrays("mask", mask, count, _mask),
        _controls(count, controls, control_image, control_scale, control_start, control_end),
        strength,
    )


def _controls(
    count: int, controls: int, images: Images, scale: Number, start: Number, end: Number
) -> tuple[Control, ...]:
    numbers = {"control_scale": scale, "control_start": start, "control_end": end}
    if images is None:
        for name, value in numbers.items():
            if value is not None:
                advice = "give one, or leave it out" if controls else "leave it out: the pipeline has no ControlNet"
                raise InputError(f"{name} was given, and there is no control_image; {advice}.")
        return ()
    if controls == 1:
        pictures: list[Array | None] = [_arrays("control_image", images, count, _levels)]
    else:
        several = _several("control_image", images)
        if controls and len(several) != controls:
            raise InputError(
                f"{len(several)} times control_image was given for {controls} ControlNets; give one for each."
            )
        pictures = [_arrays("control_image", one, count, _levels) for one in several]
    each = {name: _each(name, value, len(pictures)) for name, value in numbers.items()}
    found = []
    for at, picture in enumerate(pictures):
        assert picture is not None
        begin, until = each["control_start"][at], each["control_end"][at]
        begin, until = 0.0 if begin is None else begin, 1.0 if until is None else until
        if not 0 <= begin < until <= 1:
            raise InputError(
                f"control_start is {begin} and control_end {until}; give shares of the steps, the first the smaller."
            )
        found.append(Control(picture, each["control_scale"][at], begin, until))
    return tuple(found)


def _each(name: str, value: Number, count: int) -> list[float | None]:
    several: list[float | None] = [value] * count if value is None or isinstance(value, (int, float)) else [*value]
    if len(several) != count:
        raise InputError(f"{len(several)} times {name} was given for {count} ControlNets; give one for each, or one.")
    for one in several:
        if one is not None and not math.isfinite(one):
            raise InputError(f"{name} is {one}; give a number.")
    return several


def _several(name: str, images: Images) -> list[Image.Image]:
    """The pictures. Raises InputError for what is none."""
    found = [images] if isinstance(images, Image.Image) else list(images or ())
    for one in found:
        if not isinstance(one, Image.Image):
            raise InputError(f"the {name} is a {type(one).__name__}; give a picture of Pillow's.")
    return found


def _arrays(name: str, images: Images, count: int, convert: Callable[[Image.Image], Array]) -> Array | None:
    """The pictures [1 or count, channels, height, width]; None where none were given."""
    if images is None:
        return None
    found = _several(name, images)
    if len(found) not in (1, count):
        raise InputError(f"{len(found)} times {name} was given for {count} prompts; give one for each, or one.")
    if len({one.size for one in found}) > 1:
        sizes = ", ".join(f"{one.width}x{one.height}" for one in found)
        raise InputError(f"the pictures of {name} are {sizes} pixels; give all in one size.")
    return np.stack([convert(one) for one in found])


def _levels(image: Image.Image) -> Array:
    """[3, height, width] from 0 to 1."""
    return (np.asarray(image.convert("RGB"), np.float32) / np.float32(255)).transpose(2, 0, 1)


def _colours(image: Image.Image) -> Array:
    """[3, height, width] from −1 to 1."""
    return np.asarray(np.float32(2) * _levels(image) - np.float32(1))


def _mask(image: Image.Image) -> Array:
    """[1, height, width]: 1 where it is at least half white, 0 elsewhere."""
    grey = np.asarray(image.convert("L"), np.float32) / np.float32(255)
    return (grey >= np.float32(0.5)).astype(np.float32)[None]
