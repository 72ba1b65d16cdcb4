"""Reading attention out of a graph: one family of algebraic identities a file, one normal form at the end.

`peelers.py` is the registry; `layout.py`, `scale.py`, `casts.py`, `kv_repeat.py` and `mask.py` hold the identities;
`view.py` is the algebra of layouts they are stated in; `chain.py` finds the way from a Softmax to its two matrix
products, `anchor.py` reads it and puts the normal form together.
"""

# Registering the peelers is what importing their files does.
from attnfuse_passes.attention import casts, kv_repeat, layout, mask, scale

__all__ = ["casts", "kv_repeat", "layout", "mask", "scale"]
