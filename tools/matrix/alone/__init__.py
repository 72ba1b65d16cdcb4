"""Models that are compiled alone, with `--inputs`: what no pipeline of `tests.support.small_models` has.

Sizes differ from each other wherever the architecture lets them. Imports no MindSpore.
"""

from __future__ import annotations

from collections.abc import Mapping

from tools.matrix.alone import controlnets, denoisers, encoders, vaes, videos
from tools.matrix.alone.record import Alone

ALONE: Mapping[str, Alone] = {
    **denoisers.ALONE,
    **videos.ALONE,
    **controlnets.ALONE,
    **vaes.ALONE,
    **encoders.ALONE,
}
"""By a name of their own."""
