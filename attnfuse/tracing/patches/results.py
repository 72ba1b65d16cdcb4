"""For models that hand out records, or rewrite their weights at every call.

Imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from mindspore import mint


@contextmanager
def plain_results() -> Iterator[None]:
    """Flux2's autoencoder puts what it computes into records and takes it out by their attributes, or leaves it in a
    distribution: a graph has neither. Here it is given as it is, the distribution as its mean and log-variance.

    Kandinsky 2.1's text encoder asks its transformer for such a record, to take the first of it: here for a tuple.
    AudioLDM2's projection returns one, of two texts side by side, each in a beginning and an end of its own.
    """
    from mindone.diffusers import AudioLDM2ProjectionModel, AutoencoderKLFlux2
    from mindone.diffusers.pipelines.kandinsky import MultilingualCLIP

    def encode(self, x, return_dict=True):  # type: ignore[no-untyped-def]
        moments = self.encoder(x)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        return (moments,)

    def decode(self, z, return_dict=True, generator=None):  # type: ignore[no-untyped-def]
        if self.post_quant_conv is not None:
            z = self.post_quant_conv(z)
        return (self.decoder(z),)

    def text(self, input_ids, attention_mask):  # type: ignore[no-untyped-def]
        states = self.transformer(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)[0]
        mean = (states * attention_mask.unsqueeze(2)).sum(dim=1) / attention_mask.sum(dim=1)[:, None]
        return self.LinearTransformation(mean), states

    def enclosed(states: Any, seen: Any, first: Any, last: Any) -> Any:
        rows, width = states.shape[0], states.shape[2]
        ends = [end.broadcast_to((rows, 1, width)) for end in (first, last)]
        one = mint.ones((rows, 1), dtype=seen.dtype)
        return mint.cat([ends[0], states, ends[1]], dim=1), mint.cat([one, seen, one], dim=-1)

    def project(self, hidden_states, hidden_states_1, attention_mask, attention_mask_1):  # type: ignore[no-untyped-def]
        left = enclosed(self.projection(hidden_states), attention_mask, self.sos_embed, self.eos_embed)
        right = enclosed(self.projection_1(hidden_states_1), attention_mask_1, self.sos_embed_1, self.eos_embed_1)
        return mint.cat([left[0], right[0]], dim=1), mint.cat([left[1], right[1]], dim=-1)

    with (
        mock.patch.object(AudioLDM2ProjectionModel, "construct", project),
        mock.patch.object(AutoencoderKLFlux2, "encode", encode),
        mock.patch.object(AutoencoderKLFlux2, "decode", decode),
        mock.patch.object(MultilingualCLIP, "construct", text),
    ):
        yield


@contextmanager
def normed_weights() -> Iterator[None]:
    """`WeightNorm` rewrites the weight of its convolution each time it is called, into a parameter that no
    checkpoint has. It comes to the same each time: `weights.find_sources` computes it, once.
    """
    from mindone.utils import WeightNorm

    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.weight_norm_cell(x)

    with mock.patch.object(WeightNorm, "construct", construct):
        yield
