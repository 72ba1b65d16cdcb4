"""Noise levels: betas, what is left of the signal, sigmas. Float32 in every step, as mindone's tables are.

Timesteps that are whole numbers come from these by rounding, so that what is more exact would not be the same.
"""

from __future__ import annotations

import math

import numpy as np

from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.options import BetaOptions

_ZERO_SNR = 2.0**-24
"""The smallest float16: what stands for no signal at all where the signal is divided by."""

_MOST_BETA = 0.999
_RHO = 7.0


def alphas_cumprod(options: BetaOptions, *, floor: bool = True) -> Array:
    """What is left of the signal's variance at each timestep, float32.

    With `rescale_betas_zero_snr` nothing is left at the last one; `floor` puts 2⁻²⁴ there, to divide by.
    """
    betas = _betas(options)
    if options.rescale_betas_zero_snr:
        betas = _zero_terminal_snr(betas)
    left: Array = np.cumprod(np.float32(1) - betas, dtype=np.float32)
    if options.rescale_betas_zero_snr and floor:
        left[-1] = _ZERO_SNR
    return left


def sigmas_of(left: Array) -> Array:
    """Noise over signal at each timestep, float32, ascending."""
    sigmas: Array = np.sqrt((np.float32(1) - left) / left)
    return sigmas


def _betas(options: BetaOptions) -> Array:
    start, end, count = options.beta_start, options.beta_end, options.num_train_timesteps
    if options.trained_betas is not None:
        return np.asarray(options.trained_betas, np.float32)
    if options.beta_schedule == "linear":
        return np.linspace(start, end, count).astype(np.float32)
    if options.beta_schedule == "scaled_linear":
        return np.asarray(np.square(np.linspace(start**0.5, end**0.5, count).astype(np.float32)))

    def left(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = (min(1 - left((i + 1) / count) / left(i / count), _MOST_BETA) for i in range(count))
    return np.fromiter(betas, np.float64, count).astype(np.float32)


def _zero_terminal_snr(betas: Array) -> Array:
    """Betas that leave nothing of the signal at the last timestep: arXiv:2305.08891, algorithm 1."""
    root = np.sqrt(np.cumprod(np.float32(1) - betas, dtype=np.float32))
    first, last = root[0], root[-1]
    left = np.square((root - last) * (first / (first - last)))
    alphas = np.concatenate([left[:1], left[1:] / left[:-1]])
    return np.asarray(np.float32(1) - alphas)


def karras(largest: float, smallest: float, count: int) -> Array:
    """Noise levels evenly spaced in their seventh root: arXiv:2206.00364, equation 5."""
    low, high = smallest ** (1 / _RHO), largest ** (1 / _RHO)
    levels: Array = (high + np.linspace(0, 1, count) * (low - high)) ** _RHO
    return levels


def exponential(largest: float, smallest: float, count: int) -> Array:
    """Noise levels evenly spaced in their logarithm."""
    levels: Array = np.exp(np.linspace(math.log(largest), math.log(smallest), count))
    return levels


def evenly(first: float, last: float, count: int) -> Array:
    """Numbers evenly spaced, with mindone's rounding."""
    return first + np.linspace(0, 1, count) * (last - first)


def timesteps_of(sigmas: Array, table: Array) -> Array:
    """The timesteps, with a fraction, at which the table reaches these noise levels, linear in their logarithm.

    The logarithms are float32, as mindone's are: some schedulers cut off the fraction.
    """
    logs = np.log(table)
    wanted = np.log(np.maximum(sigmas, 1e-10)).astype(np.float32)
    low = np.clip(np.searchsorted(logs, wanted, side="right") - 1, 0, len(logs) - 2)
    share = np.clip((logs[low] - wanted) / (logs[low] - logs[low + 1]), 0, 1)
    found: Array = (np.float32(1) - share) * low.astype(np.float64) + share * (low + 1).astype(np.float64)
    return found


def shifted(sigmas: Array, shift: float) -> Array:
    """Noise levels of a flow, moved towards noise by a factor: arXiv:2403.03206, equation 23."""
    return np.asarray(shift * sigmas / (1 + (shift - 1) * sigmas))
