"""How far numbers and pictures are apart. Everything is computed in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.ir.types import Array

Floats: TypeAlias = npt.NDArray[np.float64]

_LEVELS = 255
_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03
"""Those of Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity,
IEEE Transactions on Image Processing 13 (2004), section III."""


class NoMetricError(Exception):
    """A figure that cannot be had, and why: half a sentence."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How far an array is from a reference.

    `max_abs` is the largest difference, `relative` the root mean square of differences as a share of that of the
    reference, `cosine` that of the angle between the two, 1 where both are zero.
    """

    max_abs: float
    relative: float
    cosine: float


def figures(value: Array, reference: Array) -> Figures:
    """Raises NoMetricError where shapes differ, a number is not finite, or the reference alone is zero everywhere."""
    if value.shape != reference.shape:
        raise NoMetricError(f"the shapes differ: {list(value.shape)} and {list(reference.shape)}")
    a, b = (np.asarray(one, np.float64).ravel() for one in (value, reference))
    for numbers, whose in ((a, "the result"), (b, "the reference")):
        if not np.isfinite(numbers).all():
            count = int(np.count_nonzero(~np.isfinite(numbers)))
            raise NoMetricError(f"{count} of {numbers.size} numbers of {whose} are not finite")
    apart, size_a, size_b = (float(np.linalg.norm(one)) for one in (a - b, a, b))
    if not size_b and size_a:
        raise NoMetricError("the reference is zero everywhere, and the result is not")
    if not size_b:
        return Figures(0.0, 0.0, 1.0)
    cosine = float(np.dot(a / size_b, b / size_b) / (size_a / size_b)) if size_a else 0.0
    return Figures(float(np.abs(a - b).max(initial=0)), apart / size_b, min(cosine, 1.0))


def psnr(picture: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit pictures, infinite where they are the same.

    Raises NoMetricError where the sizes differ.
    """
    _same_size(picture, reference)
    error = float(np.mean((picture.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(_LEVELS**2 / error))


def ssim(picture: Array, reference: Array) -> float:
    """Structural similarity of 8-bit pictures [height, width, channels]: the mean over pixels and channels.

    With the paper's window, a Gaussian of 11 × 11 pixels and a standard deviation of 1.5, wherever it lies within the
    picture. Raises NoMetricError where the sizes differ, or the window does not fit.
    """
    _same_size(picture, reference)
    if min(picture.shape[:2]) < _WINDOW:
        raise NoMetricError(f"the pictures are smaller than the window of SSIM, {_WINDOW} × {_WINDOW} pixels")
    a, b = picture.astype(np.float64), reference.astype(np.float64)
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a, variance_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * _LEVELS) ** 2, (_K2 * _LEVELS) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(above / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))))


def _same_size(picture: Array, reference: Array) -> None:
    if picture.shape != reference.shape:
        raise NoMetricError(f"the sizes of the pictures differ: {list(picture.shape)} and {list(reference.shape)}")


def _blurred(values: Floats) -> Floats:
    """The weighted means of all windows that lie within the first two axes."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(values, _WINDOW, axis)
        values = np.asarray(windows @ weights, np.float64)
    return values
