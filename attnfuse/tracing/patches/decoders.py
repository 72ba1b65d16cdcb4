"""Patches for text encoders that are decoders (Llama, Gemma, GLM, …), in force while one is traced.

mindone writes them for PyNative mode. What graph mode cannot take is around the layers, not in them: a tensor made of a
number that Python reads from the configuration, records with attributes, assignments into a mask, a cache. Each
`construct` here does the same for the one call a pipeline makes, a whole text at once, with mindone's own layers,
norms and rotary tables; it returns the last state, and all the states where they are asked for. `patches` lists them.
Worker side: imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import mindspore
from mindspore import _checkparam, mint, ops
from mindspore._extends.parse import standard_method


@contextmanager
def two_axes() -> Iterator[None]:
    """`x.transpose(0, 1)` swaps two axes on Ascend, of as many as there are; on a CPU the call wants them all."""
    check = _checkparam.check_transpose_axis

    def check_transpose_axis(axes, ndim):  # type: ignore[no-untyped-def]
        if len(axes) == 2:
            order = list(range(ndim))
            first, second = axes[0] % ndim, axes[1] % ndim
            order[first] = second
            order[second] = first
            return tuple(order)
        return check(axes, ndim)

    with mock.patch.object(_checkparam, "check_transpose_axis", check_transpose_axis):
        yield


@contextmanager
def sized_expand() -> Iterator[None]:
    """`x.expand((2, -1))` takes its sizes as numbers on Ascend; on a CPU the call wants them as a tensor."""

    def expand(values, *size):  # type: ignore[no-untyped-def]
        return values.broadcast_to(size[0] if len(size) == 1 else size)

    with mock.patch.object(standard_method, "expand", expand):
        yield


@contextmanager
def no_dropout() -> Iterator[None]:
    """Dropout of a model that does not train is nothing, and yet asks for the random state first.

    That is two parameters of the graph, with a node of their own, that no checkpoint has.
    """

    def dropout(values, p=0.5, training=True, inplace=False):  # type: ignore[no-untyped-def]
        if training:
            raise ValueError("a model is traced as it is served: it does not train")
        return values

    with mock.patch.object(mint.nn.functional, "dropout", dropout):
        yield


@contextmanager
def gelu_tanh() -> Iterator[None]:
    """The activation "gelu_pytorch_tanh" is a `functools.partial`, which graph mode cannot call."""
    from mindone.transformers.activations import GELUTanh

    def construct(self, values):  # type: ignore[no-untyped-def]
        return mint.nn.functional.gelu(values, approximate="tanh")

    with mock.patch.object(GELUTanh, "construct", construct):
        yield


@contextmanager
def device_calls() -> Iterator[None]:
    """What mindone's transformers call as one does on Ascend, in words that any host can trace."""
    with two_axes(), sized_expand(), no_dropout(), gelu_tanh():
        yield


def causal(length: Any) -> Any:
    """Which tokens (columns) each token (rows) sees: itself and those before."""
    positions = mint.arange(length)
    return positions.unsqueeze(0) <= positions.unsqueeze(1)


def additive(visible: Any, minimum: Any, dtype: Any) -> Any:
    """What mindone adds to the scores: nothing where a token is seen, a least number elsewhere."""
    return mint.logical_not(visible).to(dtype) * minimum


def through_layers(model: Any, hidden: Any, mask: Any, rotary: Any) -> Any:
    """The last state, normed, and all of them: what goes in, after every layer but the last, and the last."""
    states: tuple[Any, ...] = ()
    for layer in model.layers:
        states += (hidden,)
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)[0]
    hidden = model.norm(hidden)
    return hidden, (*states, hidden)


@contextmanager
def text_decoder() -> Iterator[None]:
    """The models around the layers: see this module's beginning, and what each says of itself."""
    from mindone.transformers.modeling_attn_mask_utils import _MIN_FP16, dtype_to_min
    from mindone.transformers.models.gemma.modeling_gemma import GemmaModel
    from mindone.transformers.models.gemma2.modeling_gemma2 import Gemma2DecoderLayer, Gemma2Model
    from mindone.transformers.models.glm.modeling_glm import GlmModel
    from mindone.transformers.models.llama.modeling_llama import LlamaModel
    from mindone.transformers.models.mistral.modeling_mistral import MistralModel
    from mindone.transformers.models.mistral3.modeling_mistral3 import (
        Mistral3ForConditionalGeneration,
        Mistral3Model,
    )
    from mindone.transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLTextModel,
    )

    def llama(self, input_ids, attention_mask, output_hidden_states=False):  # type: ignore[no-untyped-def]
        # mindone's gives no states at all but the last, which its pipeline does not ask for. Its mask has float16's
        # least number in every type.
        hidden = self.embed_tokens(input_ids)
        length = input_ids.shape[1]
        visible = mint.logical_and(causal(length), attention_mask[:, None, None, :] != 0)
        mask = additive(visible, _MIN_FP16, hidden.dtype)
        rotary = self.rotary_emb(hidden, mint.arange(length).unsqueeze(0))
        states: tuple[Any, ...] = ()
        for layer in self.layers:
            states += (hidden,)
            hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        hidden = self.norm(hidden)
        return hidden, (*states, hidden)

    def glm(self, input_ids, output_hidden_states=False):  # type: ignore[no-untyped-def]
        # With its cache, which an encoder has no use for, mindone's looks for a value that its layers do not return.
        hidden = self.embed_tokens(input_ids)
        length = input_ids.shape[1]
        mask = additive(causal(length)[None, None], dtype_to_min(hidden.dtype), hidden.dtype)
        rotary = self.rotary_emb(hidden, mint.arange(length).unsqueeze(0))
        return through_layers(self, hidden, mask, rotary)

    def gemma(self, input_ids, attention_mask, output_hidden_states=False):  # type: ignore[no-untyped-def]
        hidden = self.embed_tokens(input_ids)
        length = input_ids.shape[1]
        visible = mint.logical_and(causal(length), attention_mask[:, None, None, :] != 0)
        mask = additive(visible, dtype_to_min(hidden.dtype), hidden.dtype)
        rotary = self.rotary_emb(hidden, mint.arange(length).unsqueeze(0))
        # The root is rounded to the model's type first, as Gemma's authors have it.
        hidden = hidden * ops.cast(hidden.shape[-1] ** 0.5, hidden.dtype)
        return through_layers(self, hidden, mask, rotary)

    def gemma2_layer(self, hidden_states, position_embeddings, attention_mask):  # type: ignore[no-untyped-def]
        # Every other layer sees a window only. mindone's cuts it out of the mask whether or not the text is longer, in
        # words that end in operators nobody else has.
        length = attention_mask.shape[-1]
        if self.is_sliding and length > self.sliding_window:
            positions = mint.arange(length)
            outside = positions.unsqueeze(1) - positions.unsqueeze(0) >= self.sliding_window
            attention_mask = mint.where(outside, dtype_to_min(attention_mask.dtype), attention_mask)
        states = self.self_attn(
            hidden_states=self.input_layernorm(hidden_states),
            position_embeddings=position_embeddings,
            attention_mask=attention_mask,
        )[0]
        hidden_states = hidden_states + self.post_attention_layernorm(states)
        states = self.mlp(self.pre_feedforward_layernorm(hidden_states))
        return (hidden_states + self.post_feedforward_layernorm(states),)

    def mistral(self, input_ids, attention_mask, output_hidden_states=False):  # type: ignore[no-untyped-def]
        # mindone's asks with `bool ^ bool` which of two inputs it was given, and keeps no window.
        hidden = self.embed_tokens(input_ids)
        length = input_ids.shape[1]
        visible = mint.logical_and(causal(length), attention_mask[:, None, None, :] != 0)
        mask = additive(visible, dtype_to_min(hidden.dtype), hidden.dtype)
        rotary = self.rotary_emb(hidden, mint.arange(length).unsqueeze(0))
        return through_layers(self, hidden, mask, rotary)

    def mistral_3(self, input_ids, attention_mask, output_hidden_states=False):  # type: ignore[no-untyped-def]
        # Through the model between them: graph mode reads its `construct` even so, and its own has a local variable
        # that only a picture defines.
        return self.model(input_ids, attention_mask)

    def mistral_3_model(self, input_ids, attention_mask):  # type: ignore[no-untyped-def]
        return self.language_model(input_ids, attention_mask)

    def qwen(self, input_ids, attention_mask, output_hidden_states=False):  # type: ignore[no-untyped-def]
        return self.model.language_model(input_ids, attention_mask)

    def qwen_text(self, input_ids, attention_mask):  # type: ignore[no-untyped-def]
        # Without a picture the three positions of a token are the same: how many there are before it, padding left
        # out. Padding has the position 1.
        hidden = self.embed_tokens(input_ids)
        seen = attention_mask != 0
        visible = mint.logical_and(causal(input_ids.shape[1]), seen[:, None, None, :])
        mask = additive(visible, dtype_to_min(hidden.dtype), hidden.dtype)
        positions = visible[:, 0].to(mindspore.float32).sum(-1) - 1.0  # mindone's rotary tables want them as such
        positions = positions.masked_fill(mint.logical_not(seen), 1.0).unsqueeze(0).broadcast_to((3, -1, -1))
        rotary = self.rotary_emb(hidden, positions)
        return through_layers(self, hidden, mask, rotary)

    with ExitStack() as stack:
        stack.enter_context(device_calls())
        for model, construct in (
            (LlamaModel, llama),
            (GlmModel, glm),
            (GemmaModel, gemma),
            (Gemma2Model, gemma),
            (Gemma2DecoderLayer, gemma2_layer),
            (MistralModel, mistral),
            (Mistral3ForConditionalGeneration, mistral_3),
            (Mistral3Model, mistral_3_model),
            (Qwen2_5_VLForConditionalGeneration, qwen),
            (Qwen2_5_VLTextModel, qwen_text),
        ):
            stack.enter_context(mock.patch.object(model, "construct", construct))
        yield
