"""Tokenizers and image processors without files: a word is a token, a picture is zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from transformers import BatchEncoding, BatchFeature


class Words:
    """A tokenizer of words, filled up and cut off as transformers' are told to."""

    padding_side = "right"
    pad_token = eos_token = "end"
    pad_token_id = eos_token_id = 1
    bos_token_id = 0
    cls_token_id = 0
    added_tokens_encoder: Final[dict[str, int]] = {}

    def __init__(self, max_length: int, *, with_positions: bool = False) -> None:
        self.model_max_length = max_length
        self.with_positions = with_positions

    def encode(self, text: str, **_: Any) -> list[int]:
        """A beginning, a number for each word, an end."""
        return [0, *(2 + len(word) for word in text.split()), 1]

    def tokenize(self, text: str) -> list[str]:
        """The words."""
        return text.split()

    def __call__(
        self,
        text: str | Sequence[str],
        *_: Any,
        padding: Any = False,
        max_length: int | None = None,
        truncation: bool = False,
        return_tensors: str | None = None,
        return_length: bool = False,
        **__: Any,
    ) -> BatchEncoding:
        rows = [self.encode(each) for each in ([text] if isinstance(text, str) else text)]
        limit = self.model_max_length if max_length is None else max_length
        if truncation:
            rows = [[*row[: limit - 1], 1] if len(row) > limit else row for row in rows]
        longest = max(map(len, rows))
        length = limit if padding == "max_length" else longest
        masks = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
        if padding:
            rows = [[*row, *[self.pad_token_id] * (length - len(row))] for row in rows]
        if return_tensors is None:
            single = isinstance(text, str)
            lists = {"input_ids": rows, "attention_mask": masks}
            return BatchEncoding({key: value[0] if single else value for key, value in lists.items()})
        ids = np.array(rows, np.int64)
        found = {"input_ids": ids, "attention_mask": np.array(masks, np.int64)}
        if return_length:
            found["length"] = np.array(list(map(len, rows)), np.int64)
        if self.with_positions:
            found["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
        return BatchEncoding(found)

    def apply_chat_template(self, conversation: Any, *, tokenize: bool = True, **options: Any) -> Any:
        """The words of what is said, or their tokens."""
        several = isinstance(conversation[0], list)
        texts = [
            " ".join(part["text"] for message in one for part in message["content"])
            for one in (conversation if several else [conversation])
        ]
        return self(texts, **options) if tokenize else texts if several else texts[0]

    def batch_decode(self, rows: Any, **_: Any) -> list[str]:
        """Nothing that matters: it is told the user."""
        return ["" for _ in rows]

    decode = batch_decode


class Pictures:
    """An image processor: pixels of the size that an image encoder takes."""

    size: Final = {"shortest_edge": 20, "height": 20, "width": 20}
    crop_size: Final = {"height": 20, "width": 20}

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, images: Any, **_: Any) -> BatchFeature:
        count = len(images) if isinstance(images, list | tuple) else 1
        return BatchFeature({"pixel_values": np.zeros((count, 3, self.side, self.side), np.float32)})

    preprocess = __call__


class SeenPictures:
    """Qwen 2.5 VL's processor: patches of 14 pixels of pictures, and a token for each square of four of them."""

    def __call__(self, text: Sequence[str], images: Any, **_: Any) -> BatchEncoding:
        pictures = images if isinstance(images, list) else [images]
        grid = np.array([[1, *(2 * round(side / 28) for side in one.size[::-1])] for one in pictures], np.int64)
        seen = int(grid.prod(axis=1).sum())
        ids = np.array([[*Words(0).encode(one), *[60] * (seen // 4)] for one in text], np.int64)
        return BatchEncoding(
            {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "pixel_values": np.zeros((seen, 3 * 2 * 14 * 14), np.float32),
                "image_grid_thw": grid,
            }
        )
