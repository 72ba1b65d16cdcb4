"""Composite operators for MindSpore Lite: several nodes of the source as one that CANN has a kernel for.

    composites.py   the pass
    composite.py    what its rewrites have in common: the target is asked before a node is written
    matching.py     what raising several of them asks of a graph
    group_norm.py   GroupNorm, with the SiLU behind it
    layer_norm.py   LayerNorm with its statistics in float32; add_layer_norm.py with the sum before it
    rms_norm.py     RmsNorm of any epsilon, also where it is written out
    gate.py         the gate of a feed-forward, by GELU, or by SiLU where that is asked for
    gelu.py         GELU by tanh that is written out
    rotation.py     rotations of positions

How each node has to be written to arrive in CANN's graph was found by running both converters without a device; what a
device launches is `attnfuse.targets.composites`. What is refused stays for legalisation.
"""
