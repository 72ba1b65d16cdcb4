"""Attention: read out of a graph into one normal form, decided upon, written. See passes/README.md."""
