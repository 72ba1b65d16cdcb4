"""The algebraic identities that attention is read through, a family a file; `registry.py` is their registry.

`scale.py`, `temperature.py`, `clamp.py`, `casts.py`, `layout.py`, `regroup.py`, `kv_repeat.py` and `mask.py` hold the
identities, `steps.py` what one of them says; `product.py` reads matrix products, the two ends of every chain of them.
"""

# Registering the identities is what importing their files does.
from attnfuse_passes.attention.identities import casts, clamp, kv_repeat, layout, mask, regroup, scale, temperature

__all__ = ["casts", "clamp", "kv_repeat", "layout", "mask", "regroup", "scale", "temperature"]
