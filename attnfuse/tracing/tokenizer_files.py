"""Makes the `tokenizer.json` of a tokenizer's folder that has none: all that the tokenizers library needs.

It gives the tokens of the class that the pipeline names. CLIP's is written here, of `vocab.json` and `merges.txt`;
transformers converts every other that it has a fast form of (sentencepiece, byte-level BPE, WordPiece), in a process of
its own (`tokenizer_worker`), since importing it takes seconds.

Imports `runner` of this package, `attnfuse.documents`, `attnfuse.errors` and, where there is one to make, tokenizers.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnfuse import documents
from attnfuse.errors import SourceError
from attnfuse.tracing.folder import read_json
from attnfuse.tracing.runner import environment

CLIP_CLASSES = ("CLIPTokenizer", "CLIPTokenizerFast")

_CLIP_DEFAULTS = {"unk_token": "<|endoftext|>", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
_CLIP_MERGES = 49152 - 256 - 2
"""As many lines of merges.txt, behind the first, as CLIPTokenizer reads."""
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What CLIP takes for a word: an ending, letters, one digit, or other marks."""
LONGEST_TOKEN = 1000
"""Characters of an added token: tokenizers takes time with the square of them, a second for 15 000."""
_SECONDS = 300


class NotMadeError(Exception):
    """Why no `tokenizer.json` was made, as the end of a sentence."""


def make_tokenizer(folder: Path, class_name: str) -> bytes:
    """The `tokenizer.json` of the tokenizer in `folder`, of that class of transformers.

    Raises NotMadeError where a file is missing or damaged, where a library is, or where the class has no fast form.
    """
    if (longest := max(map(len, _added_texts(folder)), default=0)) > LONGEST_TOKEN:
        raise NotMadeError(f"one of its added tokens has {longest} characters, and {LONGEST_TOKEN} at most are taken")
    if class_name in CLIP_CLASSES:
        return _clip(folder, slow=class_name == CLIP_CLASSES[0])
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
        made = Path(work) / "tokenizer.json"
        command = [sys.executable, "-m", "attnfuse.tracing.tokenizer_worker", str(folder), class_name, str(made)]
        try:
            ran = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, env=environment(), timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotMadeError(f"it took more than {_SECONDS} seconds") from None
        if ran.returncode == 0 and made.is_file():
            return made.read_bytes()
        said = [line.strip() for line in ran.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise NotMadeError(said[-1][:200].rstrip(".") if said else f"it ended with code {ran.returncode}")


def _clip(folder: Path, *, slow: bool) -> bytes:
    """CLIP's, as CLIPTokenizer (`slow`, without ftfy) or CLIPTokenizerFast reads the same files."""
    try:
        import tokenizers
    except ImportError:
        raise NotMadeError("tokenizers is not installed: install attnfuse[trace]") from None
    names = _clip_names(folder)
    vocabulary, merges = _clip_words(folder)
    if missing := [names[f"{name}_token"] for name in ("bos", "eos") if names[f"{name}_token"] not in vocabulary]:
        raise NotMadeError(f"its vocab.json lacks the token {missing[0]!r}")
    if (hole := _hole(vocabulary)) is not None:
        raise NotMadeError(f"its vocab.json has no token of number {hole}")
    try:
        made = _clip_of(tokenizers, vocabulary, merges, names, slow=slow)
        _add(tokenizers, made, _clip_added(folder))
        text: str = made.to_str(pretty=False)
    except NotMadeError:
        raise
    except Exception as error:  # tokenizers raises no other class
        raise NotMadeError(" ".join(str(error).split())) from None
    return text.encode()


def _hole(vocabulary: Mapping[str, Any]) -> int | None:
    """The first number below others that no token has: of such vocabularies tokenizers prints on stdout."""
    numbers = {number for number in vocabulary.values() if isinstance(number, int)}
    return next((number for number in range(len(vocabulary)) if number not in numbers), None)


def _add(tokenizers: Any, made: Any, added: Mapping[str, int]) -> None:
    in_order = sorted(added, key=lambda content: added[content])
    new = [
        tokenizers.AddedToken(content, normalized=False) for content in in_order if made.token_to_id(content) is None
    ]
    made.add_tokens(new)  # at once: each call takes time with all that were added before
    for content in in_order:
        if made.token_to_id(content) != added[content]:
            raise NotMadeError(f"the added token {content!r} would not be number {added[content]}")


def _clip_of(
    tokenizers: Any,
    vocabulary: Mapping[str, int],
    merges: list[tuple[str, ...]],
    names: Mapping[str, str],
    *,
    slow: bool,
) -> Any:
    normalizers, split = tokenizers.normalizers, tokenizers.pre_tokenizers
    unknown, begin, end = (names[f"{name}_token"] for name in ("unk", "bos", "eos"))
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            dict(vocabulary), merges, end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=unknown
        )
    )
    steps = [normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()]
    if slow:
        # BERT's cleaning comes first: control characters go, Chinese characters are words of their own. Python writes
        # a sigma that ends a word in another letter, Rust's Lowercase knows no words.
        cleaning = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
        )
        sigma = normalizers.Replace(tokenizers.Regex(r"(?<=\p{L})Σ(?!\p{L})"), "ς")
        steps = [cleaning, *steps[:2], sigma, steps[2]]
    made.normalizer = normalizers.Sequence(steps)
    made.pre_tokenizer = split.Sequence(
        [
            split.Split(tokenizers.Regex(_CLIP_WORDS), behavior="removed", invert=True),
            split.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    made.post_processor = tokenizers.processors.RobertaProcessing(
        (end, vocabulary[end]), (begin, vocabulary[begin]), trim_offsets=False, add_prefix_space=False
    )
    special = sorted({*names.values()} & vocabulary.keys(), key=lambda token: vocabulary[token])
    made.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return made


def _clip_names(folder: Path) -> dict[str, str]:
    """The special tokens by name, `unk_token`, `bos_token`, `eos_token` and `pad_token`: where transformers looks."""
    config = _read(folder / "tokenizer_config.json")
    special = {} if "added_tokens_decoder" in config else _read(folder / "special_tokens_map.json")
    found: dict[str, str] = dict(_CLIP_DEFAULTS)
    for name in (*_CLIP_DEFAULTS, "pad_token"):
        given = special.get(name, config.get(name))
        content = given.get("content") if isinstance(given, dict) else given
        if isinstance(content, str):
            found[name] = content
    return found


def _clip_words(folder: Path) -> tuple[dict[str, int], list[tuple[str, ...]]]:
    vocabulary = _read(folder / "vocab.json")
    if not vocabulary:
        raise NotMadeError("it has no vocab.json")
    try:
        lines = documents.read_text(folder / "merges.txt").strip().split("\n")
    except (OSError, ValueError) as error:
        raise NotMadeError(f"its merges.txt cannot be read: {documents.reason(error)}") from None
    merges = [tuple(line.split()) for line in lines[1 : _CLIP_MERGES + 1]]
    if any(len(merge) != 2 for merge in merges):
        raise NotMadeError("its merges.txt has a line that is not two words")
    return vocabulary, merges


def _clip_added(folder: Path) -> dict[str, int]:
    """Tokens that were added to the vocabulary, such as those of textual inversion."""
    described = _read(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
    try:
        added = {entry["content"]: int(number) for number, entry in described.items() if "content" in entry}
    except (AttributeError, TypeError, ValueError):
        raise NotMadeError("added_tokens_decoder in its tokenizer_config.json is damaged") from None
    found = {**_read(folder / "added_tokens.json"), **added}
    if not all(isinstance(token, str) and isinstance(number, int) for token, number in found.items()):
        raise NotMadeError("it has added tokens without a text or a number")
    return found


def _added_texts(folder: Path) -> Iterator[str]:
    """Texts of the tokens that a tokenizer's files have added, or give a name such as `pad_token`."""
    yield from _read(folder / "added_tokens.json")
    config = _read(folder / "tokenizer_config.json")
    described = config.get("added_tokens_decoder")
    given = list(described.values()) if isinstance(described, dict) else []
    for names in (config, _read(folder / "special_tokens_map.json")):
        given += [value for name, value in names.items() if name.endswith("_token")]
        several = names.get("additional_special_tokens")
        given += several if isinstance(several, list) else []
    for one in given:
        content = one.get("content") if isinstance(one, dict) else one
        if isinstance(content, str):
            yield content


def _read(path: Path) -> dict[str, Any]:
    """The object in a file; nothing where there is no file."""
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except SourceError:
        raise NotMadeError(f"its {path.name} is no JSON object") from None
