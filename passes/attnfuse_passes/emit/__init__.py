"""Writing: the encodings of the two fused nodes."""
