"""Composite operators for MindSpore Lite: several nodes of the source as one that CANN has a kernel for.

    composites.py   the pass
    composite.py    what its rewrites have in common: the target is asked before a node is written
    group_norm.py   GroupNorm, with the SiLU behind it
    layer_norm.py   LayerNorm with its statistics in float32; add_layer_norm.py with the sum before it
    rms_norm.py     RmsNorm of any epsilon

How each node has to be written to arrive in CANN's graph was found by running both converters without a device; what a
device launches is `attnfuse.targets.composites`. What is refused stays for legalisation.
"""
