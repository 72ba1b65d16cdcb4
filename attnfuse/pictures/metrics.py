"""How far numbers and pictures are apart, in float64. What is of numbers is `align`'s, which goes beside graphs."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.ir.types import Array
from attnfuse.pictures import align
from attnfuse.pictures.align import Figures, NoMetricError, figures

Floats: TypeAlias = npt.NDArray[np.float64]

__all__ = ["Figures", "NoMetricError", "figures", "psnr", "ssim"]

_LEVELS = 255
_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03
"""Those of Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity,
IEEE Transactions on Image Processing 13 (2004), section III."""


def psnr(picture: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit pictures, infinite where they are the same.

    Raises NoMetricError where the sizes differ.
    """
    _same_size(picture, reference)
    return align.psnr(picture, reference, _LEVELS)


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
