"""The algebraic identities that attention is read through, a family a file; `registry.py` is their registry.

`scale.py`, `temperature.py`, `clamp.py`, `casts.py`, `layout.py`, `regroup.py`, `kv_repeat.py`, `mask.py`,
`exponentials.py`, `nan_guard.py` and `weights.py` hold the identities, `steps.py` what one of them says; `product.py`
reads matrix products, the two ends of every chain of them, and `rows.py` the numbers of rows that a softmax written by
hand subtracts and divides by.
"""

# Registering the identities is what importing their files does.
from attnfuse_passes.attention.identities import (
    casts,
    clamp,
    exponentials,
    kv_repeat,
    layout,
    mask,
    nan_guard,
    regroup,
    scale,
    temperature,
    weights,
)

__all__ = [
    "casts",
    "clamp",
    "exponentials",
    "kv_repeat",
    "layout",
    "mask",
    "nan_guard",
    "regroup",
    "scale",
    "temperature",
    "weights",
]
