"""Noise is numpy's, rounded to the type that is asked for. That mindone draws the same, the schedulers' tests show."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16
from attnfuse_runtime import noise
from attnfuse_runtime.errors import InputError


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_of_a_seed(dtype: str) -> None:
    found = noise.randn((2, 3), noise.generator(7), dtype)
    wanted = np.random.Generator(np.random.PCG64(7)).standard_normal((2, 3)).astype(dtype)
    np.testing.assert_array_equal(found, wanted, strict=True)


def test_in_bfloat16_it_is_float32_of_its_numbers() -> None:
    found = noise.randn((1 << 17,), noise.generator(7), "bfloat16")
    exact = np.random.default_rng(7).standard_normal(1 << 17).astype(np.float32)
    np.testing.assert_array_equal(found, exact.astype(BFLOAT16.numpy).astype(np.float32), strict=True)
    assert (found.view(np.uint32) & 0x8000_0000).any()  # signs stay


def test_a_generator_for_each_of_a_batch() -> None:
    both = noise.randn((2, 3), [noise.generator(1), noise.generator(2)], "float32")
    for row, seed in zip(both, (1, 2), strict=True):
        np.testing.assert_array_equal(row, noise.randn((1, 3), [noise.generator(seed)], "float32")[0])
    with pytest.raises(InputError, match="2 generators were given for a batch of 3"):
        noise.randn((3, 1), [noise.generator(1), noise.generator(2)], "float32")


def test_without_a_generator_it_is_another_one_each_time() -> None:
    assert not np.array_equal(noise.randn((4,), None, "float32"), noise.randn((4,), None, "float32"))
