"""UNets that take boxes."""

from __future__ import annotations

from pathlib import Path

from tests.support.small_models import SMALL
from tests.tracing.test_specs import planned, shapes_of


def test_the_text_of_a_phrase_and_boxes_go_into_one_dictionary(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["gligen"])
    assert list(found) == ["unet_grounded", "unet_ungrounded"]
    assert shapes_of(found["unet_grounded"])["boxes"] == (2, 30, 4)
    assert found["unet_grounded"].call is not None
    assert dict(found["unet_grounded"].call.arguments)["cross_attention_kwargs"] == (
        '{"gligen": {"boxes": boxes, "masks": masks, "positive_embeddings": positive_embeddings}}'
    )
    assert "boxes" not in shapes_of(found["unet_ungrounded"])
