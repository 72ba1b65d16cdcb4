"""Measures attnfuse: rewriting alone, its growth with the graph, and a whole compile. See README.md."""
