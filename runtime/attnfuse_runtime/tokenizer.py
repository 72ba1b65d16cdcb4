"""Tokenizers of text encoders: `tokenizer.json`, or the vocabulary and merges of CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from attnfuse_runtime.errors import FolderError, InputError
from attnfuse_runtime.files import read_json
from attnfuse_runtime.noise import Array

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What CLIP takes for a word: an ending, letters, one digit, or other marks."""


_LONGEST = 1 << 20
"""Tokens of a text: transformers writes 10^30 where a tokenizer knows no length."""
_LONGEST_TOKEN = 1000
"""Characters of an added token: tokenizers takes time with the square of them, a second for 15 000."""


@dataclass(frozen=True)
class Tokens:
    """Texts as numbers.

    `ids` and `mask` (1 for a token, 0 for padding) are int64 [texts, chunks × length], `weights` float32 of that shape;
    `cut` is what was left out of each text, "" where it is whole.
    """

    ids: Array
    mask: Array
    weights: Array
    cut: tuple[str, ...]


@dataclass(frozen=True)
class _Encoded:
    """The tokens of one text, and where in it each begins and ends."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class Tokenizer:
    """The tokenizer of a folder."""

    def __init__(self, made: tokenizers.Tokenizer, pad: str, length: int) -> None:
        """`pad` is the token that fills a text up, `length` what a text is filled up or cut off to."""
        self._made = made
        self._pad = made.token_to_id(pad)
        self._before, self._after = _ends(made)
        self._several = _several(made)
        self.length = length

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a pipeline's folder `tokenizer`.

        Raises FolderError where a file is missing, or the folder has the model of sentencepiece alone.
        """
        config = read_json(folder / "tokenizer_config.json")
        special = folder / "special_tokens_map.json"
        names = {**config, **(read_json(special) if special.is_file() else {})}
        made = _made(folder, names)
        pad, length = _text(names.get("pad_token")), config.get("model_max_length")
        if not _knows(made, pad) or not isinstance(length, int) or length < 1:
            raise FolderError(f"{folder} says neither which token pads a text nor how long one is; copy it again.")
        return cls(made, pad, length)

    def chunks(self, texts: Sequence[str], length: int = 0) -> int:
        """How many chunks of this length the longest of the texts takes, at least one."""
        room = self._room(length)
        return max([1, *(-(-len(one.ids) // room) for one in self._encoded(texts))])

    def __call__(
        self,
        texts: Sequence[str],
        length: int = 0,
        *,
        chunks: int = 1,
        weights: Sequence[Array | None] | None = None,
    ) -> Tokens:
        """The texts in chunks of this length in tokens, 0 for the tokenizer's own.

        Each chunk has the tokens that begin and end a text, and is filled up; the last are of an empty text where
        others of the texts are longer. `weights` has the weight of each character of a text: a token has that of its
        last, and what is no part of a text has 1.
        """
        length = length or self.length
        room = self._room(length)
        shape = (len(texts), chunks, length)
        ids, mask, told = np.full(shape, self._pad, np.int64), np.zeros(shape, np.int64), np.ones(shape, np.float32)
        cut = []
        for row, (text, found) in enumerate(zip(texts, self._encoded(texts))):
            own = None if weights is None else weights[row]
            for chunk in range(chunks):
                part = slice(chunk * room, (chunk + 1) * room)
                numbers = [*self._before, *found.ids[part], *self._after]
                ids[row, chunk, : len(numbers)] = numbers
                mask[row, chunk, : len(numbers)] = 1
                if own is not None:
                    of = [own[end - 1] if end > start else 1.0 for start, end in found.offsets[part]]
                    told[row, chunk, len(self._before) : len(self._before) + len(of)] = of
            over = len(found.ids) > room * chunks
            cut.append(text[found.offsets[room * chunks][0] :] if over else "")
        flat = (len(texts), chunks * length)
        return Tokens(ids.reshape(flat), mask.reshape(flat), told.reshape(flat), tuple(cut))

    def _room(self, length: int) -> int:
        """The tokens of a text in a chunk of this length. Raises InputError where there are none."""
        room = (length or self.length) - len(self._before) - len(self._after)
        if not 1 <= room <= _LONGEST:
            raise InputError(
                f"a text of {length or self.length} tokens has no room for words beside what begins and ends it, or "
                "is longer than any graph takes; compile for texts of another length."
            )
        return room

    def _encoded(self, texts: Sequence[str]) -> list[_Encoded]:
        return [self._whole(one) for one in self._made.encode_batch(list(texts), add_special_tokens=False)]

    def _whole(self, found: Any) -> _Encoded:
        """With all tokens of a textual inversion of several vectors in the place of the first."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for number, offset in zip(found.ids, found.offsets):
            own = self._several.get(number, (number,))
            ids += own
            offsets += [offset] * len(own)
        return _Encoded(ids, offsets)


def _knows(made: tokenizers.Tokenizer, token: str) -> bool:
    """Whether it has that token: none has one that is no text in UTF-8."""
    return token == token.encode(errors="ignore").decode() and made.token_to_id(token) is not None


def _ends(made: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """The tokens that begin and end every text."""
    bare, whole = (made.encode("a", add_special_tokens=one).ids for one in (False, True))
    begun = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
    return whole[:begun], whole[begun + len(bare) :]


def _several(made: tokenizers.Tokenizer) -> dict[int, tuple[int, ...]]:
    """The added tokens that stand for several: X for X, X_1 and so on, as diffusers has it for textual inversions."""
    numbers = {one.content: number for number, one in made.get_added_tokens_decoder().items()}
    found = {}
    for token, number in numbers.items():
        own = [number]
        while (other := numbers.get(f"{token}_{len(own)}")) is not None:
            own.append(other)
        if len(own) > 1:
            found[number] = tuple(own)
    return found


def _made(folder: Path, names: dict[str, Any]) -> tokenizers.Tokenizer:
    whole, vocabulary, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    try:
        if whole.is_file():
            _check_added(whole)
            made = tokenizers.Tokenizer.from_file(str(whole))
            made.no_truncation()
            made.no_padding()
            return made
        if vocabulary.is_file() and merges.is_file():
            return _clip(models.BPE.read_file(str(vocabulary), str(merges)), names, folder)
    except FolderError:
        raise
    except Exception as error:  # tokenizers raises no other class
        raise FolderError(f"the tokenizer in {folder} cannot be read: {error}.") from None
    raise FolderError(f"{folder} has no tokenizer.json, nor vocab.json and merges.txt; make the first of its model.")


def _check_added(path: Path) -> None:
    """Raise FolderError where a `tokenizer.json` has added tokens that would take minutes to read."""
    added = read_json(path).get("added_tokens")
    for one in added if isinstance(added, list) else []:
        content = one.get("content") if isinstance(one, dict) else None
        _check_length(content if isinstance(content, str) else "", path)


def _check_length(token: str, where: Path) -> None:
    if len(token) > _LONGEST_TOKEN:
        raise FolderError(
            f"{where} has an added token of {len(token)} characters, and {_LONGEST_TOKEN} at most are taken; copy it"
            " again from the pipeline."
        )


def _clip(read: Any, names: dict[str, Any], folder: Path) -> tokenizers.Tokenizer:
    """CLIP's tokenizer, of what transformers' CLIPTokenizerFast is made of too."""
    vocabulary, merges = read
    unknown, begin, end = (_text(names.get(f"{name}_token")) for name in ("unk", "bos", "eos"))
    made = tokenizers.Tokenizer(
        models.BPE(vocabulary, merges, end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=unknown)
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.post_processor = processors.RobertaProcessing(
        (end, vocabulary[end]), (begin, vocabulary[begin]), trim_offsets=False, add_prefix_space=False
    )
    special = sorted({unknown, begin, end, _text(names.get("pad_token"))} & vocabulary.keys())
    for token in special:
        _check_length(token, folder)
    made.add_special_tokens(special)
    return made


def _text(token: Any) -> str:
    """A token's text: some configurations have an object with its `content`."""
    return str(token["content"] if isinstance(token, dict) else token)
