"""Simplification: nodes that change nothing go, and arithmetic moves to types that the SoC has kernels for.

    rules.py       the registry, what a rule says (`Simpler`), and the rewrite that asks the rules
    arithmetic.py  products with one, sums with nothing
    casts.py       casts there and back
    layout.py      regroupings of regroupings, permutations that cancel, pieces that are the whole
    repeated.py    equal nodes made once
    ranges.py      between which numbers a value lies
    narrow.py      int64 in int32, where the range is proved
    doubles.py     float64 in float32, where the error is bounded
    simplify.py    the pass: asks the rules until none has anything to say

Every rule but those of `doubles.py` gives the same numbers bit by bit; what NaNs carry, and whether a device flushes
numbers below the normal ones, is not looked at.
"""
