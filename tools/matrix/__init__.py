"""Every class attnfuse can be asked to trace, small, through a whole compile: `python -m tools.matrix`."""
