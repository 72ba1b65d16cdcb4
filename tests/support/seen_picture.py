"""Qwen 2.5 VL's own way from two pictures and texts to states, beside what the patch makes of it. Worker side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import mindone.transformers
import mindspore
import numpy as np
from mindspore import mint

from attnfuse.tracing.patches import tracing_patches
from tests.support.decoders import _cumsum, _dropout, _embedding, _expand, _gelu
from tests.support.recorder.eager import array, eager, tensor
from tests.support.small_models import SMALL

ROWS, COLUMNS = 10, 6
"""Of patches: windows are 8 of them high and wide, so that there are four, three of them not whole."""

PICTURE = 60
BEFORE, AFTER = (3, 2), (4, 1)
"""Tokens of each text before its picture and behind it; the second is filled up."""


def _patches(layer: Any, pixels: Any) -> Any:
    return tensor(np.einsum("bcthw,octhw->bo", array(pixels), array(layer.weight))[:, :, None, None, None])


def _scatter(values: Any, mask: Any, source: Any) -> Any:
    made = array(values).copy()
    made[array(mask)] = array(source).reshape(-1)
    return tensor(made)


@contextmanager
def on_a_cpu() -> Iterator[None]:
    """What has no CPU kernel is computed with numpy, the same for both."""
    with ExitStack() as stack:
        stack.enter_context(eager())
        stack.enter_context(tracing_patches(["two_axes"]))
        for owner, name, function in (
            (mint.nn.Conv3d, "construct", _patches),
            (mint.nn.Embedding, "construct", _embedding),
            (mint.nn.functional, "gelu", _gelu),
            (mint.nn.functional, "dropout", _dropout),
            (mindspore.Tensor, "cumsum", lambda x, dim=None, **_: _cumsum(x, dim)),
            (mindspore.Tensor, "expand", _expand),
            (mindspore.Tensor, "masked_scatter", _scatter),
            (mint, "repeat_interleave", lambda x, repeats: tensor(np.repeat(array(x), array(repeats)))),
            (mint, "unique_consecutive", lambda x: tensor(np.unique(array(x)))),
        ):
            stack.enter_context(mock.patch.object(owner, name, function))
        yield


def seen_picture() -> float:
    """The largest difference of a state that counts, to the largest state of its layer."""
    config = SMALL["qwen_image_edit"].models["text_encoder"]
    options = {key: value for key, value in config.items() if key not in ("architectures", "model_type")}
    random = np.random.default_rng(0)
    squares = ROWS * COLUMNS // 4
    longest = max(map(sum, zip(BEFORE, AFTER, strict=True))) + squares
    ids, mask = np.ones((2, longest), np.int64), np.zeros((2, longest), np.int64)
    for i, (before, after) in enumerate(zip(BEFORE, AFTER, strict=True)):
        text = [*random.integers(2, 50, before - 1), 62, *[PICTURE] * squares, *random.integers(2, 50, after)]
        ids[i, : len(text)], mask[i, : len(text)] = text, 1
    pixels = random.normal(size=(2 * ROWS * COLUMNS, 3 * 2 * 14 * 14)).astype(np.float32)
    grid = [[1, ROWS, COLUMNS]] * 2
    with on_a_cpu():
        kind = getattr(mindone.transformers, config["architectures"][0])
        model = kind(kind.config_class(**options, attn_implementation="eager"))
        model.set_train(False)
        for parameter in model.get_parameters():
            parameter.set_data(tensor(random.normal(0, 0.3, parameter.shape).astype(np.float32)))
        given = {"input_ids": tensor(ids), "attention_mask": tensor(mask), "pixel_values": tensor(pixels)}
        own = model(**given, image_grid_thw=tensor(np.array(grid)), output_hidden_states=True, use_cache=False)
        with tracing_patches(["text_decoder", "seen_picture"]):
            _, states = model(**given, image_grid_thw=grid, output_hidden_states=True)
    counts = mask.astype(bool)
    pairs = [(array(a)[counts], array(b)[counts]) for a, b in zip(own.hidden_states, states, strict=True)]
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
