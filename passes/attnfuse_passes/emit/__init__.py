"""Writing: the encodings of what replaces attention. `fused.py`: the two fused nodes; `arrange.py`: layouts."""
