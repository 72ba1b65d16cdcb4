"""Attention over keys that the graph has in parts, stated as one attention over all of them.

`parts.py` reads scores, keys and values of a part, `scores.py` finds scores that are concatenated before the softmax
(keys in two streams, sinks), `chunks.py` softmaxes of parts that are put together by their largest scores,
`reweighted.py` weights that are weighed again. `restate.py` writes the one attention where it then becomes a fused
node, and nowhere else.
"""
