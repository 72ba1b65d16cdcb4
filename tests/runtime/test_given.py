"""Pictures as arrays, and those that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnfuse_runtime import AttnfuseRuntimeError
from attnfuse_runtime.given import Control, Given, taken


def grey(*levels: int, width: int = 1) -> Image.Image:
    return Image.fromarray(np.asarray(levels, np.uint8).reshape(-1, 1).repeat(width, axis=1))


def test_pictures_as_arrays() -> None:
    """An image from −1 to 1, a mask of its white half, what a ControlNet goes by from 0 to 1; all in colours."""
    shown = grey(0, 127, 128, 255)
    found = taken(1, image=shown, mask=[shown], control_image=shown.convert("RGBA"), controls=1)
    levels = np.asarray([0, 127, 128, 255], np.float32) / np.float32(255)
    assert found.image is not None
    assert found.mask is not None
    for array, wanted in ((found.image, 2 * levels - 1), (found.controls[0].picture, levels)):
        assert array.shape == (1, 3, 4, 1)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array[0, :, :, 0], [wanted] * 3)
    np.testing.assert_array_equal(found.mask[0, 0, :, 0], [0, 0, 1, 1])
    assert (found.names, found.size) == (("image", "mask", "control_image"), (4, 1))
    assert (Given().names, Given().size) == ((), None)


def test_a_picture_of_each_prompt_and_of_each_controlnet() -> None:
    pictures = [grey(0), grey(255)]
    found = taken(2, image=pictures, control_image=pictures, controls=2, control_scale=[1, 0.5], control_end=0.5)
    assert found.image is not None
    assert len(found.image) == 2
    assert [(one.picture.shape, one.scale, one.start, one.end) for one in found.controls] == [
        ((1, 3, 1, 1), 1, 0.0, 0.5),
        ((1, 3, 1, 1), 0.5, 0.0, 0.5),
    ]
    assert len(taken(2, control_image=pictures, controls=1).controls[0].picture) == 2


def test_the_steps_that_a_controlnet_is_there_for() -> None:
    """From the first that begins at `start` to the last that ends at `end`, as in mindone."""
    control = Control(np.zeros(0), start=0.25, end=0.75)
    assert [control.scale_at(number, 4, own=0.8) for number in range(4)] == [0, 0.8, 0.8, 0]
    assert Control(np.zeros(0), 0.0).scale_at(0, 1, own=0.8) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mask": grey(0)}, "a mask was given without an image"),
        ({"strength": 0.5}, "strength is 0.5, and there is no image"),
        ({"image": grey(0), "strength": 1.5}, "strength is 1.5; give a number from 0 to 1"),
        ({"image": grey(0), "strength": float("nan")}, "strength is nan; give a number from 0 to 1"),
        ({"image": [grey(0)] * 3}, "3 times image was given for 2 prompts"),
        ({"image": []}, "0 times image was given for 2 prompts"),
        ({"image": [grey(0), grey(0, 1)]}, "the pictures of image are 1x1, 1x2 pixels; give all in one size"),
        ({"image": "cat.png"}, "the image is a str; give a picture of Pillow's"),
        ({"control_scale": 1.0}, "control_scale was given, and there is no control_image"),
        ({"control_image": grey(0), "controls": 2}, "1 times control_image was given for 2 ControlNets"),
        ({"control_image": grey(0), "control_scale": [1, 2]}, "2 times control_scale was given for 1 ControlNets"),
        ({"control_image": grey(0), "control_scale": float("inf")}, "control_scale is inf; give a number"),
        ({"control_image": grey(0), "control_start": 0.5, "control_end": 0.5}, "control_start is 0.5 and control_end"),
        ({"control_image": grey(0), "control_end": 2}, "control_end 2; give shares of the steps"),
    ],
)
def test_arguments_that_do_not_fit(given: dict[str, Any], said: str) -> None:
    with pytest.raises(AttnfuseRuntimeError, match=r"^[^\n]*\.$") as raised:
        taken(2, **{"controls": 1, **given})
    assert said in str(raised.value)


@pytest.mark.parametrize("name", ["image", "mask", "control_image"])
def test_a_picture_of_another_size(name: str) -> None:
    given: dict[str, Any] = {"image": grey(0, 1), "controls": 1, name: grey(0, 1, width=2)}
    found = taken(1, **given)
    with pytest.raises(AttnfuseRuntimeError, match=f"the {name} is 2x2 pixels, and the pictures .* 1x2"):
        found.check(2, 1)
