"""Which of the timesteps of training a picture is made with: table 2 of arXiv:2305.08891."""

from __future__ import annotations

import numpy as np

from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.options import BetaOptions


def spaced(options: BetaOptions, steps: int, *, parts: int = 0, whole: bool = True, end: int | None = None) -> Array:
    """Timesteps from noise to picture, float64; whole numbers unless `whole` is false.

    The range up to `end` (default: all of training) is cut into `parts` (default: `steps`), and the first `steps` are
    taken. Spaced "trailing" there may be one more than `steps`, where they do not divide those of training.
    """
    parts, end = parts or steps, options.num_train_timesteps if end is None else end
    if options.timestep_spacing == "trailing":
        ratio = options.num_train_timesteps / steps
        return np.asarray(np.arange(end, 0, -ratio).round() - 1)
    if options.timestep_spacing == "leading":
        found = np.arange(parts) * float(end // parts) + options.steps_offset
    else:
        found = np.linspace(0, end - 1, parts)
    found = found.round() if whole else found
    return np.asarray(found[::-1][:steps])
