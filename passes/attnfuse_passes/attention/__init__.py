"""Attention: read out of a graph into one normal form, decided upon, written. See README.md one folder up."""
