"""Writing what stands for an attention: a file for each form it is written in."""
