"""What text encoders make of prompts, in as many chunks as the denoiser takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnfuse_runtime.errors import PipelineError
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.tokenizer import Tokenizer
from attnfuse_runtime.watching import Clock

_STATES = ("penultimate_hidden_state", "last_hidden_state")
_POOLED = ("text_embeds", "pooler_output")


@dataclass(frozen=True)
class Encoded:
    """What one encoder made: states [texts, chunks × length, width] and a pooled text [texts, width] of each.

    None where its graph gives no such thing. The pooled text is that of the first chunk, without weights. `mask`
    [texts, chunks × length] is 1 for a token and 0 for padding.
    """

    states: Array | None
    pooled: Array | None
    cut: tuple[str, ...]
    mask: Array


class TextEncoder:
    """A text encoder's graph and its tokenizer."""

    def __init__(self, pipeline: Pipeline, name: str, tokenizer: Tokenizer) -> None:
        self.name = name
        self._pipeline = pipeline
        self._tokenizer = tokenizer
        inputs = pipeline.manifest.components[name].inputs
        if not inputs or len(inputs[0].shape) != 2:
            raise PipelineError(
                f"the graph {name} takes {', '.join(map(str, inputs)) or 'nothing'}, and not texts of [rows, "
                "tokens]; compile it for this pipeline."
            )
        self._own = max(inputs[0].shape[-1], 0)

    @property
    def length(self) -> int:
        """The tokens of a chunk: the graph's, or the tokenizer's where the graph takes any number."""
        return self._own or self._tokenizer.length

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """How many chunks the longest prompt takes."""
        return self._tokenizer.chunks([one.text for one in prompts], self.length)

    def chunks_of(self, denoiser: str, tokens: int) -> int:
        """How many chunks this many tokens of the denoiser are. Raises PipelineError where they are no whole number."""
        chunks, rest = divmod(tokens, self.length)
        if rest or chunks < 1:
            raise PipelineError(
                f"{denoiser} has room for {tokens} tokens of {self.name}, which makes {self.length} at a time; compile "
                f"{denoiser} for a whole number of those."
            )
        return chunks

    def __call__(self, prompts: Sequence[Prompt], clock: Clock, chunks: int = 1, length: int = 0) -> Encoded:
        """Raises as the component does. `length` is that of a chunk, where the graph takes any."""
        length = self._own or length or self.length
        with clock("tokenizer"):
            weights = [one.weights for one in prompts]
            tokens = self._tokenizer([one.text for one in prompts], length, chunks=chunks, weights=weights)
        rows = {"input_ids": tokens.ids.reshape(-1, length)}
        if any(one.name == "attention_mask" for one in self._pipeline.manifest.components[self.name].inputs):
            rows["attention_mask"] = tokens.mask.reshape(-1, length)
        with clock(self.name):
            found = run_rows(self._pipeline[self.name], rows)
        states = next((found[name] for name in _STATES if name in found), None)
        pooled = next((found[name] for name in _POOLED if name in found), None)
        if states is not None:
            states = states.reshape(len(prompts), chunks * length, -1)
        if states is not None and any(one is not None for one in weights):
            states = weighted(states, tokens.weights)
        return Encoded(states, None if pooled is None else pooled[::chunks], tokens.cut, tokens.mask)


def weighted(states: Array, weights: Array) -> Array:
    """States [texts, tokens, width] times weights [texts, tokens], float32, each text with the mean that it had.

    This is the rule of Stable Diffusion's front ends and of diffusers' lpw pipelines. Where weights turn the sign of
    the mean, or leave nothing of it, no factor restores it, and none is applied.
    """
    states = states.astype(np.float32)
    found = states * weights[:, :, None]
    before, after = (one.mean(axis=(1, 2), keepdims=True, dtype=np.float64) for one in (states, found))
    keeps = before * after > 0
    return np.asarray(found * np.where(keeps, before / np.where(keeps, after, 1), 1), np.float32)
