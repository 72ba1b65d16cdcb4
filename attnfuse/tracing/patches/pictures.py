"""For text encoders that see a picture.

Imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import mindspore
import numpy as np
from mindspore import mint
from mindspore.ops.primitive import constexpr

from attnfuse.tracing.patches.decoders import additive, causal, through_layers


@contextmanager
def seen_picture() -> Iterator[None]:
    """Qwen 2.5 VL works out from tensors, number by number, where its patches lie and which of them attend to each
    other: loops and shapes of run time. Here the size of the pictures, one a text, is known when the graph is made.

    Patches keep their order, where mindone lays those of a window side by side and puts them back at the end: attention
    does not depend on the order of its keys. Windows at the borders are smaller, and filled up with what is masked.
    The tokens of a picture are looked up where mindone scatters them into the text. Positions are those of
    `get_rope_index`: a token's number, a picture's rows and columns, and behind it on from the larger of both.
    """
    from mindone.transformers.modeling_attn_mask_utils import dtype_to_min
    from mindone.transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

    @constexpr
    def angles(rows, columns, dim):  # type: ignore[no-untyped-def]
        """The rotary angles of every patch (patches, dim), in squares of two by two as the processor lays them."""
        frequencies = 1.0 / np.float32(10000.0) ** (np.arange(0, dim // 2, 2, dtype=np.float32) / (dim // 2))
        places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
        places = places.reshape(2, rows // 2, 2, columns // 2, 2).transpose(1, 3, 2, 4, 0).reshape(-1, 2)
        half = (places[:, :, None] * frequencies).reshape(len(places), -1).astype(np.float32)
        return mindspore.Tensor(np.concatenate([half, half], axis=1))

    @constexpr
    def windows(rows, columns, side):  # type: ignore[no-untyped-def]
        """Which patches each window has, which of them are none, and at which place of all windows a patch lies."""
        squares = np.arange((rows // 2) * (columns // 2)).reshape(rows // 2, columns // 2)
        down, across = -(-squares.shape[0] // side), -(-squares.shape[1] // side)
        padded = np.full((down * side, across * side), -1)
        padded[: squares.shape[0], : squares.shape[1]] = squares
        padded = padded.reshape(down, side, across, side).transpose(0, 2, 1, 3).reshape(down * across, side * side, 1)
        patches = np.where(padded < 0, -1, padded * 4 + np.arange(4)).reshape(down * across, -1)
        places = np.argsort(np.where(patches < 0, patches.size, patches).reshape(-1), kind="stable")
        return (
            mindspore.Tensor(np.maximum(patches, 0).reshape(-1)),
            mindspore.Tensor(patches < 0),
            mindspore.Tensor(places[: rows * columns]),
        )

    def attend(self, hidden_states, cu_seqlens, rotary_pos_emb=None, position_embeddings=None):  # type: ignore[no-untyped-def]
        pictures, patches, width = hidden_states.shape
        split = self.qkv(hidden_states).reshape(pictures, patches, 3, self.num_heads, -1)
        query, key, value = split[:, :, 0], split[:, :, 1], split[:, :, 2]
        cos, sin = position_embeddings
        query, key = modeling.apply_rotary_pos_emb_vision(query, key, cos, sin)
        if cu_seqlens is None:
            attended = scores_of(query, key, value, None, self.scaling)
        else:
            of_windows, none, places = cu_seqlens
            count, size = none.shape
            hidden = additive(mint.logical_not(none), -10000.0, query.dtype)[None, :, None, None, :]
            hidden = hidden.broadcast_to((pictures, count, 1, 1, size)).reshape(pictures * count, 1, 1, size)
            taken = [
                mint.index_select(each, 1, of_windows).reshape(pictures * count, size, self.num_heads, -1)
                for each in (query, key, value)
            ]
            attended = scores_of(taken[0], taken[1], taken[2], hidden, self.scaling)
            attended = mint.index_select(attended.reshape(pictures, count * size, width), 1, places)
        return self.proj(attended.reshape(pictures, patches, width))

    def scores_of(query: Any, key: Any, value: Any, mask: Any, scaling: float) -> Any:
        """Attention of (batch, tokens, heads, dim)."""
        scores = mint.matmul(query.permute(0, 2, 1, 3), key.permute(0, 2, 3, 1)) * scaling
        if mask is not None:
            scores = scores + mask
        weights = mint.nn.functional.softmax(scores, dim=-1, dtype=mindspore.float32).to(query.dtype)
        return mint.matmul(weights, value.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)

    def see(self, hidden_states, grid_thw):  # type: ignore[no-untyped-def]
        rows, columns = grid_thw[0][1], grid_thw[0][2]
        states = self.patch_embed(hidden_states).reshape(len(grid_thw), rows * columns, -1)
        width = states.shape[-1]
        angle = angles(rows, columns, width // self.config.num_heads)
        turns = (angle.cos(), angle.sin())
        of_windows = windows(rows, columns, self.window_size // self.spatial_merge_size // self.patch_size)
        for number, block in enumerate(self.blocks):
            seen = None if number in self.fullatt_block_indexes else of_windows
            states = block(states, cu_seqlens=seen, position_embeddings=turns)
        return self.merger(states.reshape(-1, width))

    def read(self, input_ids, attention_mask, pixel_values, image_grid_thw, output_hidden_states=False):  # type: ignore[no-untyped-def]
        return self.model(input_ids, attention_mask, pixel_values, image_grid_thw)

    def both(self, input_ids, attention_mask, pixel_values, image_grid_thw):  # type: ignore[no-untyped-def]
        language = self.language_model
        picture = self.visual(pixel_values, image_grid_thw)
        rows, columns = image_grid_thw[0][1] // 2, image_grid_thw[0][2] // 2
        seen = attention_mask != 0
        visible = mint.logical_and(causal(input_ids.shape[1]), seen[:, None, None, :])
        in_picture = input_ids == self.config.image_token_id
        number = visible[:, 0].to(mindspore.float32).sum(-1) - 1.0
        count = mint.logical_and(visible[:, 0], in_picture[:, None, :]).to(mindspore.float32).sum(-1)

        place = mint.clamp(count - 1.0, min=0.0)
        first = mint.arange(len(image_grid_thw)).unsqueeze(1) * (rows * columns)
        taken = mint.index_select(picture, 0, (place.to(mindspore.int64) + first).reshape(-1))
        hidden = language.embed_tokens(input_ids)
        hidden = mint.where(in_picture.unsqueeze(2), taken.reshape(hidden.shape).to(hidden.dtype), hidden)

        row = mint.floor(place / columns)
        begin = number - place
        of_picture = mint.stack([begin, begin + row, begin + place - row * columns])
        of_text = number - count + (count > 0).to(mindspore.float32) * max(rows, columns)
        positions = mint.where(in_picture, of_picture, of_text.unsqueeze(0))
        positions = positions.masked_fill(mint.logical_not(seen), 1.0)
        mask = additive(visible, dtype_to_min(hidden.dtype), hidden.dtype)
        return through_layers(language, hidden, mask, language.rotary_emb(hidden, positions))

    with (
        mock.patch.object(modeling.Qwen2_5_VLVisionAttention, "construct", attend),
        mock.patch.object(modeling.Qwen2_5_VisionTransformerPretrainedModel, "construct", see),
        mock.patch.object(modeling.Qwen2_5_VLForConditionalGeneration, "construct", read),
        mock.patch.object(modeling.Qwen2_5_VLModel, "construct", both),
    ):
        yield
