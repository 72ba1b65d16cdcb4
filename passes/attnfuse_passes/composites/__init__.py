"""Composite operators for MindSpore Lite: several nodes of the source as one that CANN has a kernel for.

    composites.py   the pass
    composite.py    what its rewrites have in common: the target is asked before a node is written
    group_norm.py   GroupNorm, with the SiLU behind it

How each node has to be written to arrive in CANN's graph was found by running both converters without a device; what a
device launches is `attnfuse.targets.composites`. What is refused stays for legalisation.
"""
