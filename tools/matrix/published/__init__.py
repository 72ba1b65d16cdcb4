"""The widths of published models, for every configuration of the matrix: `python -m tools.matrix.widths`.

Each entry names only what differs from the defaults of the model's class, which often are a published model's.
"""

from __future__ import annotations

from collections.abc import Mapping

from tools.matrix.published import (
    alone,
    edits,
    encoders,
    newer_pictures,
    newer_videos,
    perturbed,
    pictures,
    videos,
)
from tools.matrix.published.record import Published

PUBLISHED: Mapping[str, Published] = {
    **pictures.PUBLISHED,
    **newer_pictures.PUBLISHED,
    **videos.PUBLISHED,
    **newer_videos.PUBLISHED,
    **encoders.PUBLISHED,
    **perturbed.PUBLISHED,
    **edits.PUBLISHED,
    **{f"alone/{name}": one for name, one in alone.PUBLISHED.items()},
}
"""By the matrix's names of groups."""
