"""Tokenizers of other kinds than CLIP's, and folders that have none. CLIP's is held to transformers with the loops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Made
from tokenizers import models, pre_tokenizers, processors

from attnfuse.tracing.demo import write_tokenizer
from attnfuse_runtime.errors import FolderError
from attnfuse_runtime.tokenizer import Tokenizer


def t5(folder: Path) -> None:
    """A sentencepiece model as `tokenizer.json`, which T5 ends a text in, and which cuts and pads of its own accord."""
    made = Made(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁snow", -1.0), ("▁cat", -2.0)], 2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.enable_truncation(3)
    made.enable_padding(length=3)
    made.save(str(folder / "tokenizer.json"))
    pad = {"content": "<pad>", "lstrip": False}
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512, "pad_token": pad}))


def test_a_sentencepiece_model(tmp_path: Path) -> None:
    t5(tmp_path)
    tokenizer = Tokenizer.from_folder(tmp_path)
    tokens = tokenizer(["snow cat", "", "cat snow cat snow snow"], 5)
    assert tokens.ids.tolist() == [[3, 4, 1, 0, 0], [1, 0, 0, 0, 0], [4, 3, 4, 3, 1]]
    assert tokens.mask.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert [text.strip() for text in tokens.cut] == ["", "", "snow"]
    assert tokenizer.length == 512


def test_folders_that_have_none(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"tokenizer_config\.json cannot be read"):
        Tokenizer.from_folder(tmp_path)
    write_tokenizer(tmp_path, 16)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(FolderError, match=r"has no tokenizer\.json, nor"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FolderError, match=r"the tokenizer in .* cannot be read"):
        Tokenizer.from_folder(tmp_path)
    t5(tmp_path)
    (tmp_path / "special_tokens_map.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<none>", "model_max_length": 16}')
    with pytest.raises(FolderError, match="which token pads"):
        Tokenizer.from_folder(tmp_path)
