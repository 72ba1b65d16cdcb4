"""A factor of the scores that is an input, one number for a head, in one of its spellings."""

from __future__ import annotations

from random import Random

import numpy as np

from tests.support.forms import Array, Form, Numbers
from tests.support.graphs import GraphBuilder


def tempered(
    random: Random, g: GraphBuilder, form: Form, numbers: Numbers, inputs: dict[str, Array], scores: str
) -> str:
    """The scores with the factor, whose numbers join the inputs; the scores themselves where the form has none."""
    factors = numbers.temperature
    if factors is None:
        return scores
    if len(g.dims(scores)) == 3:
        whole = np.broadcast_to(factors, (form.batch, form.heads, 1, 1))
        factors = (factors if factors.size == 1 else whole).reshape(-1, 1, 1)
    elif factors.shape[0] == 1 and random.random() < 0.5:
        factors = factors[0]
    if factors.size == 1 and random.random() < 0.5:
        factors = factors.reshape(())
    divides = random.random() < 0.3
    factor = g.input("temperature", factors.shape, g.type_of(scores).dtype)
    inputs["temperature"] = 1 / factors if divides else factors
    if divides:
        return g.op("Div", scores, factor)
    operands = [factor, scores] if random.random() < 0.5 else [scores, factor]
    return g.node("Mul", operands, g.type_of(scores))
