"""What a model's output says of picture and noise: sample = alpha · picture + sigma · noise."""

from __future__ import annotations

import numpy as np

from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.options import ThresholdOptions


def picture_of(prediction: str, output: Array, sample: Array, alpha: float, sigma: float) -> Array:
    """The picture that the output says is in the sample."""
    found: Array = output
    if prediction == "epsilon":
        found = (sample - sigma * output) / alpha
    elif prediction == "v_prediction":
        found = alpha * sample - sigma * output
    elif prediction == "flow_prediction":
        found = sample - sigma * output
    return found


def noise_of(prediction: str, output: Array, sample: Array, alpha: float, sigma: float) -> Array:
    """The noise that the output says is in the sample."""
    found: Array = output
    if prediction == "sample":
        found = (sample - alpha * output) / sigma
    elif prediction == "v_prediction":
        found = alpha * output + sigma * sample
    return found


def thresholded(picture: Array, options: ThresholdOptions) -> Array:
    """Each picture cut off at a high quantile of its magnitudes and divided by it: arXiv:2205.11487, section 2.3.

    The quantile is taken as at least 1, and at most `sample_max_value`.
    """
    flat = picture.reshape(len(picture), -1)
    limit = np.quantile(np.abs(flat), options.dynamic_thresholding_ratio, axis=1)
    # Not np.clip: the largest value wins where it is below 1.
    limit = np.minimum(np.maximum(limit, 1), options.sample_max_value)[:, None].astype(picture.dtype)
    found: Array = np.clip(flat, -limit, limit) / limit
    return found.reshape(picture.shape)
