"""Marks of weights: what they enclose, and what remains of a text without them."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse_runtime.prompts import weighted


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("snow", [("snow", 1)]),
        ("", []),
        ("a (red:1.3) cat", [("a ", 1), ("red", 1.3), (" cat", 1)]),
        ("a (red cat)", [("a ", 1), ("red cat", 1.1)]),
        ("[fog], sun", [("fog", 1 / 1.1), (", sun", 1)]),
        ("((a)b [c (d:2)])", [("a", 1.21), ("b ", 1.1), ("c ", 1), ("d", 2)]),
        ("(a (b:0.5):2.0) c", [("a ", 2), ("b", 1), (" c", 1)]),
        (r"\(a\) \[b\] \\ c\d", [("(a) [b] \\ cd", 1)]),
        ("(a: b : 1.5 )", [("a: b ", 1.5)]),
        ("(a, b", [("a, b", 1.1)]),
        ("[a, b", [("a, b", 1 / 1.1)]),
        ("a) b] c:1.5)", [("a) b] c:1.5)", 1)]),
        ("(a:-.5)(b:+2)", [("a", -0.5), ("b", 2)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("Ünï (\U0001f431:2)", [("Ünï ", 1), ("\U0001f431", 2)]),
    ],
)
def test_texts_and_weights(text: str, parts: list[tuple[str, float]]) -> None:
    found = weighted(text)
    assert found.text == "".join(part for part, _ in parts)
    wanted = [weight for part, weight in parts for _ in part]
    assert found.weights is not None
    np.testing.assert_allclose(found.weights, wanted, rtol=1e-6)
