"""What `odd_model` stores its tensors in, for the tests, which import no MindSpore."""

from __future__ import annotations

import numpy as np

#: A tensor and another type that it is stored in: none that its parameter can be taken from.
OTHERS = (
    ("steps", np.int8),
    ("steps", np.uint8),
    ("steps", np.int64),
    ("steps", np.bool_),
    ("conv.weight", np.int8),
    ("conv.bias", np.uint8),
    ("norm.weight", np.int32),
    ("tied", np.uint8),
    ("count", np.float32),
    ("count", np.bool_),
)

#: Stored in float8 once: one that mindone reshapes, one that it does not.
FLOAT8 = ("conv.weight", "steps")
