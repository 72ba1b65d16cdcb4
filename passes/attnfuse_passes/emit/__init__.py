"""Writing: the encodings of what replaces attention. `builder.py` makes any node, `fused.py` the two fused ones."""
