"""Wan: how prompts are cleaned, and pictures looked at. That it goes as mindone's, the test of the loops shows."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from attnfuse_runtime.families.wan import clean
from tests.support.film_models import components, loop, write_pipeline


def test_plain_prompts_need_no_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean('  a "cat" \n\t (100%)  {on} a mat~ ') == 'a "cat" (100%) {on} a mat~'
    for text in ("ein Café", "a & b", "a\x07", "色调艳丽"):
        with pytest.raises(AttnfuseRuntimeError, match=r"has to be cleaned by ftfy.*pip install"):
            clean(text)


def test_others_are_repaired_first(monkeypatch: pytest.MonkeyPatch) -> None:
    repaired = SimpleNamespace(fix_text=lambda text: text.replace("\u201c", '"'))
    monkeypatch.setitem(sys.modules, "ftfy", repaired)
    assert clean("\u201ca&amp;lt;b\u3000 c") == '"a<b c'  # HTML's entities twice, and white space of any kind


def test_a_transformer_that_sees_pictures_needs_their_encoder(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "wan_image_two")
    seeing = components("wan_image")
    graphs = {**components("wan_image_two"), "transformer": seeing["transformer"]}
    with pytest.raises(AttnfuseRuntimeError, match="transformer takes pictures, and the pipeline has no image_encoder"):
        loop(tmp_path, "wan_image_two", graphs)
