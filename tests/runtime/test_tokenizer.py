"""Tokenizers of other kinds than CLIP's, and folders that have none. CLIP's is held to transformers with the loops."""

from __future__ import annotations

import json
import os
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
    os.mkfifo(tmp_path / "tokenizer_config.json")
    with pytest.raises(FolderError, match=r"tokenizer_config\.json is no file; copy it again"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
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


def test_added_tokens_that_would_take_minutes_to_read(tmp_path: Path) -> None:
    """tokenizers takes time with the square of a token's characters."""
    t5(tmp_path)
    path = tmp_path / "tokenizer.json"
    document = json.loads(path.read_text())
    document["added_tokens"] = [{"id": 5, "content": "n" * 1001}]
    path.write_text(json.dumps(document))
    with pytest.raises(FolderError, match="has an added token of 1001 characters, and 1000 at most are taken"):
        Tokenizer.from_folder(tmp_path)
    path.unlink()
    write_tokenizer(tmp_path, 16)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps({**vocabulary, "n" * 1001: len(vocabulary)}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "n" * 1001}))
    with pytest.raises(FolderError, match="has an added token of 1001 characters"):
        Tokenizer.from_folder(tmp_path)
