"""Which of several sizes is asked for. The rest the loops' own tests show."""

from __future__ import annotations

import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from attnfuse_runtime.asking import of_size
from attnfuse_runtime.manifest import Size

SIZES = [
    Size(480, 832, 1, {}, 81),
    Size(480, 832, 1, {}, 33),
    Size(720, 1280, 1, {}, 33),
    Size(720, 1280, 4, {}, 33),
]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((1, None, None, None), 0),
        ((1, None, None, 33), 1),
        ((1, 720, None, None), 2),
        ((2, 720, 1280, 33), 3),
        ((9, 720, 1280, 33), 3),
        ((9, None, None, None), 0),
    ],
)
def test_the_size_that_is_asked_for(asked: tuple[int, int | None, int | None, int | None], found: int) -> None:
    assert of_size(SIZES, *asked) == found


def test_a_size_that_is_not_there() -> None:
    there = "832x480, 81 frames, 832x480, 33 frames, 1280x720, 33 frames"
    with pytest.raises(AttnfuseRuntimeError, match=f"films of 832x480, 5 frames were asked for, .* for {there}; ask"):
        of_size(SIZES, 1, 480, 832, 5)
    with pytest.raises(AttnfuseRuntimeError, match="pictures of 512x512 were asked for"):
        of_size([Size(480, 832, 1, {})], 1, 512, 512)
