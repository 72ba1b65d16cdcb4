"""Figures of arrays and pictures: reference values, and what cannot be had."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.types import Array
from attnfuse.pictures.metrics import Figures, NoMetricError, figures, psnr, ssim


def pictures() -> tuple[Array, Array]:
    """Two of 32 × 24 pixels, of a formula, and so the same everywhere."""
    y, x = np.mgrid[:24, :32]
    one = np.stack([(x * 7 + y * 3) % 256, (x * y) % 256, 255 - x * 8], -1).astype(np.uint8)
    noise = ((x * 5 + y * 11) % 23 - 11)[..., None]
    return one, np.clip(one.astype(int) + noise, 0, 255).astype(np.uint8)


def test_figures_of_an_array() -> None:
    found = figures(np.asarray([3.0, 5.0], np.float16), np.asarray([3.0, 4.0]))
    assert (found.max_abs, found.relative) == (1.0, 0.2)
    assert found.cosine == pytest.approx(29 / np.sqrt(34 * 25), abs=1e-15)
    assert figures(np.asarray([-3.0, -4.0]), np.asarray([3.0, 4.0])).cosine == -1
    assert figures(np.zeros(2), np.zeros(2)) == Figures(0.0, 0.0, 1.0)
    assert figures(np.zeros(2), np.ones(2)) == Figures(1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("value", "reference", "said"),
    [
        ([1.0], [1.0, 2.0], "the shapes differ"),
        ([np.nan, 1.0], [1.0, 2.0], "1 of 2 numbers of the result are not finite"),
        ([1.0, 2.0], [np.inf, np.nan], "2 of 2 numbers of the reference are not finite"),
        ([1.0, 0.0], [0.0, 0.0], "zero everywhere"),
    ],
)
def test_figures_that_cannot_be_had(value: list[float], reference: list[float], said: str) -> None:
    with pytest.raises(NoMetricError, match=said):
        figures(np.asarray(value), np.asarray(reference))


def test_pictures_against_scikit_image() -> None:
    """Of scikit-image 0.26.0: `structural_similarity(one, other, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255, channel_axis=2)` and `peak_signal_noise_ratio`."""
    one, other = pictures()
    assert ssim(one, other) == pytest.approx(0.9145050306931762, abs=1e-12)
    assert psnr(other, one) == pytest.approx(31.831683967792706, abs=1e-9)


def test_the_same_picture() -> None:
    one, _ = pictures()
    assert psnr(one, one) == float("inf")
    assert ssim(one, one) == pytest.approx(1.0, abs=1e-12)


def test_pictures_that_cannot_be_compared() -> None:
    one, _ = pictures()
    for metric in (psnr, ssim):
        with pytest.raises(NoMetricError, match="sizes of the pictures differ"):
            metric(one, one[:-1])
    with pytest.raises(NoMetricError, match="smaller than the window"):
        ssim(one[:10], one[:10])
