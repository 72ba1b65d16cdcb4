"""The `tokenizer.json` that is made of a folder makes the tokens of transformers' own class, on texts of all kinds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
import transformers

from attnfuse.tracing import tokenizer_files
from attnfuse.tracing.demo import write_json, write_tokenizer
from attnfuse.tracing.tokenizer_files import NotMadeError, make_tokenizer
from attnfuse.tracing.tokenizer_worker import SAMPLES, convert

TEXTS = (
    *SAMPLES,
    "it's HELLO, don't I'll they've we're I'm he'd 'S",
    "1234567890 ½ ² ٣ Ⅷ",
    "!!! (a:1.3) [b] <|endoftext|> hello! </s> <pad>",
    "Ünïcödé: é vs é, İstanbul, ẞ, ﷺ, Ⅻ",
    "日本語のテキストと 한국어 텍스트, 中文字符和ascii混合",
    "русский العربية हिन्दी ไทย",
    "👩‍👩‍👧‍👦🏳️‍🌈 👍🏽 \U0001f9d1\U0001f3fb‍\U0001f680",
    "zero​width‍joiner\ufeff bom \x1f\x7f\x85 soft\xadhyphen",
    "line\u2028separator nbsp\xa0 ideographic\u3000space \r\n crlf",
    "�replacement \x00null",
    "a" * 300,
    "a very long prompt, " * 60,
    "   ",
    "\n",
    "ΟΔΟΣ ΣΑΣ Σ ΑΣ. ΑΣ-Β",
)
CORPUS = [
    "a photo of an astronaut riding a horse on mars",
    "it's a very long prompt with hello and don't",
    "naïve café ångström русский текст",
    "一只猫坐在椅子上 日本語 한국어",
    "snow cat 1234567890 !!! (a:1.3), [b]. -",
] * 4


def bpe(folder: Path, suffix: str, extra: Iterable[str]) -> None:
    """A byte-level BPE learnt from the corpus: vocab.json and merges.txt."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix=suffix))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=letters, end_of_word_suffix=suffix, show_progress=False
    )
    made.train_from_iterator([word for text in CORPUS for word in text.split()], trainer)
    model = json.loads(made.to_str())["model"]
    words = [*sorted(letters), *(f"{letter}{suffix}" for letter in sorted(letters) if suffix)]
    words += sorted({"".join(merge) for merge in model["merges"]} - {*words})
    write_json(folder / "vocab.json", {word: i for i, word in enumerate([*words, *extra])})
    lines = "\n".join(" ".join(merge) for merge in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{lines}\n", encoding="utf-8")


def clip(folder: Path, pad: str = "<|endoftext|>") -> None:
    bpe(folder, "</w>", ["<|startoftext|>", "<|endoftext|>"])
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(folder / "special_tokens_map.json", {**special, "pad_token": pad})
    write_json(folder / "tokenizer_config.json", {**special, "pad_token": pad, "model_max_length": 77})


def qwen2(folder: Path) -> None:
    bpe(folder, "", ["<|endoftext|>"])
    write_json(folder / "tokenizer_config.json", {"model_max_length": 512})


def sentences(folder: Path, name: str, **options: Any) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_prefix=str(folder / "learnt"), vocab_size=330, minloglevel=2, **options
    )
    (folder / "learnt.model").rename(folder / name)
    (folder / "learnt.vocab").unlink()


def t5(folder: Path) -> None:
    sentences(folder, "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False)
    extra = [f"<extra_id_{i}>" for i in range(100)]
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "additional_special_tokens": extra}
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", {**special, "extra_ids": 100, "model_max_length": 512})


def llama(folder: Path, *, legacy: bool = True) -> None:
    as_is = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    sentences(folder, "tokenizer.model", model_type="bpe", byte_fallback=True, **as_is)
    write_json(folder / "tokenizer_config.json", {"model_max_length": 512, "legacy": legacy})


def bert(folder: Path) -> None:
    made = tokenizers.BertWordPieceTokenizer(lowercase=True)
    made.train_from_iterator(CORPUS, vocab_size=400, show_progress=False)
    made.save_model(str(folder))
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 512})


def same_tokens(folder: Path, class_name: str, content: bytes) -> None:
    """Held to transformers' class of that name, and to the same bytes each time."""
    made = tokenizers.Tokenizer.from_str(content.decode())
    own = getattr(transformers, class_name).from_pretrained(folder)
    differing = [text for text in TEXTS if made.encode(text).ids != own(text, verbose=False)["input_ids"]]
    assert differing == []


@pytest.mark.parametrize("pad", ["<|endoftext|>", "!</w>"])
@pytest.mark.parametrize("class_name", ["CLIPTokenizer", "CLIPTokenizerFast"])
def test_clip(tmp_path: Path, class_name: str, pad: str) -> None:
    clip(tmp_path, pad)
    content = make_tokenizer(tmp_path, class_name)
    same_tokens(tmp_path, class_name, content)
    assert content == make_tokenizer(tmp_path, class_name)


def test_clip_with_added_tokens(tmp_path: Path) -> None:
    """Those of textual inversion, which are no words of the vocabulary."""
    clip(tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    write_json(tmp_path / "added_tokens.json", {"<cat-toy>": len(vocabulary)})
    content = make_tokenizer(tmp_path, "CLIPTokenizer")
    made = tokenizers.Tokenizer.from_str(content.decode())
    own = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    text = "a <cat-toy> on a chair"
    assert len(vocabulary) in made.encode(text).ids
    assert made.encode(text).ids == own(text)["input_ids"]
    write_json(tmp_path / "added_tokens.json", {"<cat-toy>": 5000})
    with pytest.raises(NotMadeError, match="'<cat-toy>' would not be number 5000"):
        make_tokenizer(tmp_path, "CLIPTokenizer")


def test_the_demo_pipelines_own(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, 77)
    same_tokens(tmp_path, "CLIPTokenizer", make_tokenizer(tmp_path, "CLIPTokenizer"))


@pytest.mark.parametrize(
    ("write", "class_name"),
    [(t5, "T5Tokenizer"), (llama, "LlamaTokenizer"), (qwen2, "Qwen2Tokenizer"), (bert, "BertTokenizer")],
)
def test_what_transformers_converts(tmp_path: Path, write: Callable[[Path], None], class_name: str) -> None:
    write(tmp_path)
    content = convert(str(tmp_path), class_name).encode()
    same_tokens(tmp_path, class_name, content)
    assert content == convert(str(tmp_path), class_name).encode()


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    t5(tmp_path)
    made = tokenizers.Tokenizer.from_str(make_tokenizer(tmp_path, "T5TokenizerFast").decode())
    own = transformers.T5TokenizerFast.from_pretrained(tmp_path, from_slow=True)
    assert [made.encode(text).ids for text in TEXTS] == [own(text, verbose=False)["input_ids"] for text in TEXTS]
    with pytest.raises(NotMadeError, match=r"has no fast form of the class ByT5Tokenizer$"):
        make_tokenizer(tmp_path, "ByT5Tokenizer")


def test_a_fast_form_with_other_tokens_is_refused(tmp_path: Path) -> None:
    """Where the pipeline's own is the slow one: Llama's two differ in spaces that a text begins with."""
    llama(tmp_path, legacy=False)
    with pytest.raises(ValueError, match="the fast form of LlamaTokenizer has other tokens for '  Two"):
        convert(str(tmp_path), "LlamaTokenizer")
    assert convert(str(tmp_path), "LlamaTokenizerFast")


def test_one_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_files, "_SECONDS", 0.01)
    with pytest.raises(NotMadeError, match="it took more than"):
        make_tokenizer(tmp_path, "T5Tokenizer")


DAMAGE: dict[str, tuple[str, str | None, str]] = {
    "no vocabulary": ("vocab.json", None, "it has no vocab.json"),
    "no merges": ("merges.txt", None, "its merges.txt cannot be read: No such file"),
    "no object": ("vocab.json", "[]", "its vocab.json is no JSON object"),
    "half a line": ("merges.txt", "#version\na b\nc\n", "a line that is not two words"),
    "a merge of strangers": ("merges.txt", "#version\n\u4e00 \u4e01\n", "out of vocabulary"),
    "no such end": ("special_tokens_map.json", '{"eos_token": "<end>"}', "its vocab.json lacks the token '<end>'"),
    "no such beginning": ("special_tokens_map.json", '{"bos_token": "<on>"}', "its vocab.json lacks the token '<on>'"),
    "a list of tokens": (
        "tokenizer_config.json",
        '{"added_tokens_decoder": [1]}',
        "its tokenizer_config.json is damaged",
    ),
    "tokens of no number": (
        "tokenizer_config.json",
        '{"added_tokens_decoder": {"x": {"content": "a"}}}',
        "its tokenizer_config.json is damaged",
    ),
    "a token that is nothing": ("tokenizer_config.json", '{"added_tokens_decoder": {"5": null}}', "is damaged"),
    "a number for a token": (
        "tokenizer_config.json",
        '{"added_tokens_decoder": {"5": {"content": 7}}}',
        "added tokens without a text or a number",
    ),
    "a word for a number": ("added_tokens.json", '{"a": "b", "c": [1]}', "added tokens without a text or a number"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_folders(tmp_path: Path, damage: str) -> None:
    clip(tmp_path)
    name, content, reason = DAMAGE[damage]
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(NotMadeError) as raised:
        make_tokenizer(tmp_path, "CLIPTokenizer")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
