"""What an edited weight holds, worked out apart from what writes it: whole, and one edit after the other."""

from __future__ import annotations

import numpy as np

from attnfuse.ir.types import Array
from attnfuse.mindir.edits import WeightEdits


def edited(value: Array, edits: WeightEdits) -> Array:
    """The weight of that value after the edits: converted, then padded group by group, then cut."""
    if edits.dtype is not None:
        value = value.astype(edits.dtype.numpy)
    for pad in edits.pads:
        parts = np.split(value, pad.groups, axis=pad.axis)
        widths = [(0, pad.count if axis == pad.axis else 0) for axis in range(value.ndim)]
        value = np.concatenate([np.pad(part, widths) for part in parts], axis=pad.axis)
    for cut in edits.cuts:
        value = np.take(value, range(cut.begin, cut.end), axis=cut.axis)
    return np.ascontiguousarray(value)
