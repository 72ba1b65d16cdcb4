"""What is said of an unknown name."""

from __future__ import annotations

import pytest

from attnfuse.names import nearest, suggestion


@pytest.mark.parametrize(
    ("given", "known", "said"),
    [
        ("fp16", ["float16", "bfloat16", "none"], "did you mean 'float16'? Known: float16, bfloat16, none."),
        ("Unet", ["unet", "vae"], "did you mean 'unet'? Known: unet, vae."),
        ("q", ["unet", "vae"], "known: unet, vae."),
        ("unet", [], "there are none."),
    ],
)
def test_suggestion(given: str, known: list[str], said: str) -> None:
    assert suggestion(given, known) == said


def test_nearest_of_any_similarity() -> None:
    assert nearest("attn9", ["mid", "attn1"], similarity=0) == "attn1"
    assert nearest("attn9", []) is None
