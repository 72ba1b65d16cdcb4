"""Near misses: what a spelling may be mutated to, and the forms that show it.

MUST_REFUSE are no attention by construction. What EITHER_OR makes may be another attention, which then must be
computed as written. How a mutant is written is part of `spellings.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tests.support.forms import Form, Term

MUST_REFUSE = (
    "bias on the weights",
    "factor inverted",
    "factor is zero",
    "factor per key",
    "factor per query",
    "guard of another value",
    "guard puts one",
    "mask from the scores",
    "mask multiplied",
    "fill within reach",
    "scores capped",
    "scores escape",
    "scores through integers",
    "scores read as another shape",
    "softmax over heads",
    "softmax over queries",
    "softmax twice",
    "weights are also read elsewhere",
    "weights are also an output",
    "weights multiplied",
    "weights scaled",
    "value contracted over queries",
)
EITHER_OR = (
    "heads and batch of key swapped",
    "heads and batch of mask swapped",
    "key and head size swapped",
    "key permuted in 3-D",
    "key heads tiled",
    "mask tiled over heads",
    "mask transposed",
    "padding over queries",
    "polarity of a mask",
    "query read as another shape",
    "sink column",
    "value transposed",
)


def suited(form: Form, mutation: str | None) -> Form:
    """The form changed so that the mutation changes something."""

    def reshaped(**changes: Any) -> Form:
        # The sign of the scale may have come from a factor that is gone.
        factors = tuple(abs(factor) for factor in form.operand_factors)
        return replace(form, **({"operand_factors": factors} | changes if "steps" in changes else changes))

    match mutation:
        case "mask transposed" | "padding over queries":
            over = "ST" if mutation == "mask transposed" else "BT"
            return reshaped(
                key_length=form.query_length, steps=(Term("fill", "input", over, -np.inf, dtype=form.scores_dtype),)
            )
        case "value contracted over queries":
            return reshaped(key_length=form.query_length)
        case "key and head size swapped":
            return reshaped(key_length=form.head_dim)
        case "value transposed":
            return reshaped(key_length=form.value_head_dim)
        case "heads and batch of key swapped" | "heads and batch of mask swapped":
            heads = max(2, form.heads)
            steps: tuple[float | Term, ...] = form.steps
            if mutation.endswith("mask swapped"):
                steps = (Term("fill", "input", "BNST", -np.inf, dtype=form.scores_dtype),)
            changes = {} if steps == form.steps else {"steps": steps}
            return reshaped(batch=heads, heads=heads, kv_heads=heads, **changes)
        case "query read as another shape":
            return reshaped(batch=max(2, form.query_length), query_length=max(2, form.query_length))
        case "key permuted in 3-D":
            return reshaped(batch=2, heads=2, kv_heads=2, key_length=4)
        case "key heads tiled":
            return reshaped(heads=4, kv_heads=2)
        case "mask tiled over heads":
            return reshaped(
                batch=2, heads=4, kv_heads=4, steps=(Term("fill", "input", "BT", -np.inf, dtype=form.scores_dtype),)
            )
        case "polarity of a mask":
            return reshaped(steps=(Term("fill", "input", "BST", -np.inf, dtype=form.scores_dtype),))
        case "fill within reach":
            return reshaped(steps=(Term("fill", "input", "ST", -500.0, dtype=form.scores_dtype),))
        case "softmax over heads":
            return reshaped(heads=max(2, form.heads), kv_heads=max(2, form.heads), nan_guard=False)
        case "guard of another value" | "guard puts one":
            return reshaped(nan_guard=True)
        case "scores read as another shape":
            return reshaped(key_length=form.query_length + 1)
    return form
