"""Stand-ins: for operators without a CPU kernel while a model is built, for sources that cannot be traced after.

Building a model runs operators eagerly, and some constructors of mindone use ones MindSpore 2.7.1 has for Ascend
only. The values they make are constants of the graph, so they must be right, not merely present; each stand-in
computes them with numpy (`cpu_stand_ins`). While a model is traced nothing runs, and the true operators must be seen:
that context is left first.

Some methods of mindone hold what MindSpore's graph mode cannot take, on Ascend either. `TRACING` has what is put in
their place during a trace, each the same computation in words that can be traced, and each says why. Worker side:
imports mindspore, and mindone late.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import mindspore
import numpy as np
from mindspore import mint
from mindspore.ops.primitive import constexpr

from attnfuse.tracing.attention_standins import masked_text
from attnfuse.tracing.decoder_standins import device_calls, text_decoder, two_axes
from attnfuse.tracing.joint_standins import joint_sequence, turn_pairs


def _tensor(values: Any, dtype: Any) -> Any:
    return mindspore.Tensor(values, dtype=dtype) if dtype is not None else mindspore.Tensor(values)


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, mindspore.Tensor) else value


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` mean the same."""
    if len(size) == 1 and not isinstance(size[0], int):
        size = tuple(size[0])
    return tuple(int(n) for n in size)


def _arange(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Any:
    """`Arange` has no CPU kernel. Sinusoidal position tables of transformers start from it."""
    first, last = (0, start) if end is None else (start, end)
    values = np.arange(_number(first), _number(last), _number(step))
    if dtype is None:
        dtype = mindspore.int64 if values.dtype.kind in "iu" else mindspore.float32
    return _tensor(values, dtype)


def _linspace(start: Any, end: Any, steps: int, *, dtype: Any = None) -> Any:
    """`LinSpaceExt` has no CPU kernel. Positional grids of patch embeddings are made with it."""
    return _tensor(np.linspace(_number(start), _number(end), steps, dtype=np.float32), dtype)


def _full(size: Any, fill_value: Any, *, dtype: Any = None) -> Any:
    """`FillScalar` has no CPU kernel. Causal masks that are constants of a model are made with it."""
    value = _number(fill_value)
    if dtype is None:
        dtype = (
            mindspore.bool_
            if isinstance(value, bool)
            else mindspore.int64
            if isinstance(value, int)
            else mindspore.float32
        )
    return _tensor(np.full(_shape((size,)), value), dtype)


def _empty(*size: Any, dtype: Any = None, device: Any = None) -> Any:
    """`mint.empty` allocates on Ascend only. `RMSNorm` makes its weight so, for a checkpoint to fill."""
    return _tensor(np.zeros(_shape(size), np.float32), dtype)


def _randn(*size: Any, generator: Any = None, dtype: Any = None) -> Any:
    """`Randn` has no CPU kernel. Fourier time embeddings draw a table so, for a checkpoint to fill: zeros will do."""
    return _tensor(np.zeros(_shape(size), np.float32), dtype)


def _array(value: Any) -> Any:
    return value.asnumpy() if isinstance(value, mindspore.Tensor) else np.asarray(value)


def _stack(tensors: Any, dim: int = 0) -> Any:
    """`StackExt` has no CPU kernel. Grids of positions are made with it."""
    return mindspore.Tensor(np.stack([_array(tensor) for tensor in tensors], axis=dim))


def _outer(left: Any, right: Any) -> Any:
    """`Outer` has no CPU kernel. Rotary and sinusoidal tables are position ⊗ frequency."""
    return mindspore.Tensor(np.outer(_array(left), _array(right)))


def _einsum(equation: str, *operands: Any) -> Any:
    """Ends in operators that have no CPU kernel; used as `_outer` is."""
    return mindspore.Tensor(np.ascontiguousarray(np.einsum(equation, *[_array(x) for x in operands])))


def _repeat_interleave(tensor: Any, repeats: int, dim: int | None = None, *, output_size: int | None = None) -> Any:
    """`RepeatInterleaveInt` has no CPU kernel. Rotary tables repeat each frequency."""
    return mindspore.Tensor(np.repeat(_array(tensor), int(repeats), axis=dim))


def _ones_like(tensor: Any, *, dtype: Any = None) -> Any:
    """`OnesLikeExt` has no CPU kernel. It is the modulus of complex rotary tables."""
    return _tensor(np.ones_like(_array(tensor)), dtype)


_STAND_INS: Mapping[str, Callable[..., Any]] = {
    "arange": _arange,
    "einsum": _einsum,
    "empty": _empty,
    "full": _full,
    "linspace": _linspace,
    "ones_like": _ones_like,
    "outer": _outer,
    "randn": _randn,
    "repeat_interleave": _repeat_interleave,
    "stack": _stack,
}


def _unchanged(self: Any, *_: Any, **__: Any) -> Any:
    """The random numbers and zeros that models of transformers fill their weights with, for a checkpoint to overwrite.

    In place, which has no kernel either.
    """
    return self


def _filled(self: Any, value: Any) -> Any:
    """`InplaceFillScalar` has no CPU kernel. What a checkpoint fills is left as it is."""
    if not isinstance(self, mindspore.Parameter):
        self.assign_value(_full(self.shape, value, dtype=self.dtype))
    return self


def _weight_norm(self: Any, weight_norm_cell: Any, dim: int = 0) -> None:
    """`WeightNorm` works its weights out as it is made, and of a model without values there is nothing to do that from.

    Left out is what nothing but its own `remove_weight_norm` and its callers' padding read.
    """
    mindspore.nn.Cell.__init__(self)
    shape = tuple(weight_norm_cell.weight.shape)
    self.dim = dim
    self.weight_norm_cell = weight_norm_cell
    self.weight_g = mindspore.Parameter(_empty(shape[0], *(1 for _ in shape[1:])))
    self.weight_v = mindspore.Parameter(_empty(*shape))
    self.use_weight_norm = True


@contextmanager
def cpu_stand_ins() -> Iterator[None]:
    """Replace the functions of `mindspore.mint` that cannot run on a CPU; put the originals back on leaving."""
    with ExitStack() as stack:
        # As a method it runs on a CPU where it is not told the size of its output.
        stack.enter_context(_replaced(mindspore.Tensor, "repeat_interleave", _repeat_interleave))
        for name in ("normal_", "zero_"):
            stack.enter_context(_replaced(mindspore.Tensor, name, _unchanged))
        stack.enter_context(_replaced(mindspore.Tensor, "fill_", _filled))
        for name, stand_in in _STAND_INS.items():
            stack.enter_context(_replaced(mint, name, stand_in))
        module = sys.modules.get("mindone.utils.weight_norm")
        if module is not None:
            stack.enter_context(_replaced(module.WeightNorm, "__init__", _weight_norm))
        yield


@contextmanager
def _masked_attention() -> Iterator[None]:
    """`1.0 in attn_mask`, in two `scaled_dot_product_attention`s, becomes a call of Python in the graph.

    It asks whether a mask that is not boolean holds a 1; a graph that MindIR can hold cannot ask. That of `Attention`
    then takes the formula, which it takes anyway where the flash operator is not available, as while we trace. That of
    `layers_compat` computes the formula and then overwrites the result with flash attention's, mask or no mask.
    """
    from mindone.diffusers.models import layers_compat
    from mindone.diffusers.models.attention_processor import Attention

    def scaled_dot_product_attention(  # type: ignore[no-untyped-def]
        self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None
    ):
        return self.math_attention_op(query, key, value, attn_mask)

    def flash_attention(  # type: ignore[no-untyped-def]
        query,
        key,
        value,
        attn_mask=None,
        dropout_p=0.0,
        is_causal=False,
        scale=None,
        enable_gqa=False,
        backend="flash",
    ):
        if query.dtype in (mindspore.float16, mindspore.bfloat16):
            return layers_compat.flash_attention_op(query, key, value, attn_mask, keep_prob=1 - dropout_p, scale=scale)
        return layers_compat.flash_attention_op(
            query.to(mindspore.float16),
            key.to(mindspore.float16),
            value.to(mindspore.float16),
            attn_mask,
            keep_prob=1 - dropout_p,
            scale=scale,
        ).to(query.dtype)

    original = layers_compat.scaled_dot_product_attention
    importers = [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("mindone.") and getattr(module, "scaled_dot_product_attention", None) is original
    ]
    with ExitStack() as stack:
        stack.enter_context(_replaced(Attention, "scaled_dot_product_attention", scaled_dot_product_attention))
        for module in importers:
            stack.enter_context(_replaced(module, "scaled_dot_product_attention", flash_attention))
        yield


@contextmanager
def _whole_video() -> Iterator[None]:
    """The autoencoders of Wan and of Qwen-Image go through a video in pieces and pass on, in lists that are members of
    the model, what the next piece needs of the last: graph mode may not change a member.

    Here the whole video goes through at once. Every convolution over time looks back only, so the frames of the piece
    before are what it sees either way; the first frame is doubled or halved by none of them, and is left out here too.
    """
    from mindone.diffusers.models.autoencoders import autoencoder_kl_qwenimage, autoencoder_kl_wan

    def resample(self, x, feat_cache=None, feat_idx=None):  # type: ignore[no-untyped-def]
        b, c, t, h, w = x.shape
        if self.mode == "upsample3d" and t > 1:
            later = self.time_conv(x[:, :, 1:]).reshape(b, 2, c, t - 1, h, w)
            later = mint.stack((later[:, 0], later[:, 1]), 3).reshape(b, c, 2 * (t - 1), h, w)
            x = mint.cat([x[:, :, :1], later], dim=2)
        t = x.shape[2]
        x = self.resample(x.permute(0, 2, 1, 3, 4).reshape(b * t, c, h, w))
        x = x.view(b, t, x.shape[1], x.shape[2], x.shape[3]).permute(0, 2, 1, 3, 4)
        if self.mode == "downsample3d" and t > 1:
            x = mint.cat([x[:, :, :1], self.time_conv(x)], dim=2)
        return x

    def wan_encode(self, x):  # type: ignore[no-untyped-def]
        if self.config["patch_size"] is not None:
            x = autoencoder_kl_wan.patchify(x, patch_size=self.config["patch_size"])
        return self.quant_conv(self.encoder(x))

    def wan_decode(self, z, return_dict=False):  # type: ignore[no-untyped-def]
        out = self.decoder(self.post_quant_conv(z), first_chunk=True)
        if self.config["patch_size"] is not None:
            out = autoencoder_kl_wan.unpatchify(out, patch_size=self.config["patch_size"])
        return (mint.clamp(out, min=-1.0, max=1.0),)

    def qwen_encode(self, x):  # type: ignore[no-untyped-def]
        return self.quant_conv(self.encoder(x))

    def qwen_decode(self, z, return_dict=False):  # type: ignore[no-untyped-def]
        return (mint.clamp(self.decoder(self.post_quant_conv(z)), min=-1.0, max=1.0),)

    wan, qwen = autoencoder_kl_wan.AutoencoderKLWan, autoencoder_kl_qwenimage.AutoencoderKLQwenImage
    with ExitStack() as stack:
        stack.enter_context(_replaced(autoencoder_kl_wan.WanResample, "construct", resample))
        stack.enter_context(_replaced(autoencoder_kl_qwenimage.QwenImageResample, "construct", resample))
        stack.enter_context(_replaced(wan, "_encode", wan_encode))
        stack.enter_context(_replaced(wan, "_decode", wan_decode))
        stack.enter_context(_replaced(qwen, "_encode", qwen_encode))
        stack.enter_context(_replaced(qwen, "_decode", qwen_decode))
        yield


@contextmanager
def _unchunked() -> Iterator[None]:
    """Mochi's autoencoder saves memory in loops over pieces: eight frames at a time are normalised, and a convolution
    over more than 2 GiB is cut. Where the number of pieces is not known to the graph, it is of none: "Concat of 0
    elements". Every frame is normalised by itself, and the pieces of a convolution overlap: all may be done at once.

    Its convolutions, whose border is repeated, need nothing of an earlier piece and give None for it, which goes into a
    dictionary: a call of Python in the graph. Nobody reads it, so that their result may stand there.
    """
    from mindone.diffusers.models.autoencoders.autoencoder_kl_cogvideox import (
        CogVideoXCausalConv3d,
        CogVideoXSafeConv3d,
    )
    from mindone.diffusers.models.autoencoders.autoencoder_kl_mochi import MochiChunkedGroupNorm3D

    def construct(self, x=None):  # type: ignore[no-untyped-def]
        batch, channels, frames, height, width = x.shape
        x = self.norm_layer(x.permute(0, 2, 1, 3, 4).reshape(batch * frames, channels, height, width))
        return x.reshape(batch, frames, channels, height, width).permute(0, 2, 1, 3, 4)

    def convolve(self, inputs, conv_cache=None):  # type: ignore[no-untyped-def]
        output = self.conv(self.fake_context_parallel_forward(inputs, None))
        return output, output

    with (
        _replaced(CogVideoXCausalConv3d, "construct", convolve),
        _replaced(MochiChunkedGroupNorm3D, "construct", construct),
        _replaced(CogVideoXSafeConv3d, "construct", mint.nn.Conv3d.construct),
    ):
        yield


@contextmanager
def _real_rotary() -> Iterator[None]:
    """Lumina's rotary table is an input of complex numbers, which MindSpore Lite has none of.

    Here it is what `view_as_real` makes of it, and each pair of a query or key is turned by the formula of the complex
    product.
    """
    from mindone.diffusers.models.attention_processor import LuminaAttnProcessor2_0

    def member(self):  # type: ignore[no-untyped-def]
        return turn_pairs

    # A processor has the function as a member since it was built; a property of its class comes before that.
    LuminaAttnProcessor2_0.apply_rotary_emb = property(member)
    try:
        yield
    finally:
        del LuminaAttnProcessor2_0.apply_rotary_emb


@contextmanager
def _qwen_rotary() -> Iterator[None]:
    """Qwen-Image turns queries and keys under `with ms._no_grad()`, which a graph may not hold, by complex numbers, and
    keeps the tables it made in a cache of Python's. Here they are made and used as pairs of real numbers.
    """
    from mindone.diffusers.models.transformers import transformer_qwenimage

    def apply_rotary_emb(x, freqs_cis, use_real=True, use_real_unbind_dim=-1):  # type: ignore[no-untyped-def]
        pairs = x.float().reshape((*x.shape[:-1], -1, 2))
        turn = freqs_cis.unsqueeze(1)
        real = pairs[..., 0] * turn[..., 0] - pairs[..., 1] * turn[..., 1]
        imaginary = pairs[..., 0] * turn[..., 1] + pairs[..., 1] * turn[..., 0]
        return mint.stack([real, imaginary], dim=-1).flatten(start_dim=3).to(x.dtype)

    def turns(theta, dims, places):  # type: ignore[no-untyped-def]
        """cos and sin of a place's angles, (n, dims / 2, 2), of each axis's places for its part of the dimensions."""
        angles = [
            np.outer(np.float32(place), 1.0 / np.power(np.float32(theta), np.arange(0, dim, 2, np.float32) / dim))
            for place, dim in zip(places, dims, strict=True)
        ]
        angle = np.concatenate(angles, axis=1)
        return mindspore.Tensor(np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32))

    @constexpr
    def made(theta, dims, centred, pictures, text):  # type: ignore[no-untyped-def]
        every = []
        for frames, height, width in pictures:
            first_row, first_column = (height // 2 - height, width // 2 - width) if centred else (0, 0)
            grid = np.meshgrid(
                np.arange(frames), np.arange(height) + first_row, np.arange(width) + first_column, indexing="ij"
            )
            every.append(np.stack([axis.reshape(-1) for axis in grid]))
        largest = max(side // 2 if centred else side for picture in pictures for side in picture[1:])
        of_text = np.arange(largest, largest + text)
        return turns(theta, dims, np.concatenate(every, axis=1)), turns(theta, dims, [of_text] * 3)  # type: ignore[no-untyped-call]

    def tables(self, video_fhw, txt_seq_lens):  # type: ignore[no-untyped-def]
        return made(self.theta, tuple(self.axes_dim), self.scale_rope, tuple(video_fhw[0]), max(txt_seq_lens))

    with (
        _replaced(transformer_qwenimage, "apply_rotary_emb_qwen", apply_rotary_emb),
        _replaced(transformer_qwenimage.QwenEmbedRope, "construct", tables),
    ):
        yield


@contextmanager
def _one_tile() -> Iterator[None]:
    """Allegro's autoencoder works in overlapping tiles only, and blends them with assignments to parts of tensors.

    Here it is one tile's way through it: what is cut and blended around it is the caller's.
    """
    from mindone.diffusers.models.autoencoders.autoencoder_kl_allegro import AutoencoderKLAllegro

    def mapped(x, convolution):  # type: ignore[no-untyped-def]
        batch, channels, frames, height, width = x.shape
        x = convolution(x.permute(0, 2, 1, 3, 4).reshape(batch * frames, channels, height, width))
        return x.reshape(batch, frames, channels, height, width).permute(0, 2, 1, 3, 4)

    def encode(self, x):  # type: ignore[no-untyped-def]
        return mapped(self.encoder(x), self.quant_conv)  # type: ignore[no-untyped-call]

    def decode(self, z):  # type: ignore[no-untyped-def]
        return self.decoder(mapped(z, self.post_quant_conv))  # type: ignore[no-untyped-call]

    with _replaced(AutoencoderKLAllegro, "_encode", encode), _replaced(AutoencoderKLAllegro, "_decode", decode):
        yield


@contextmanager
def _replaced(owner: Any, name: str, stand_in: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def _frame_timesteps() -> Iterator[None]:
    """Cosmos can give every patch what becomes of its frame's timestep: where timesteps have five dimensions, of which
    all but the rows and the frames are 1. MindSpore gives up over its `expand`: "GetShapeVector() doesn't implement".

    Here they are one list, every row's frames in turn, and the embedding itself gives them to the patches.
    """
    from mindone.diffusers.models.transformers.transformer_cosmos import CosmosEmbedding

    def construct(self, hidden_states, timestep):  # type: ignore[no-untyped-def]
        rows, patches = hidden_states.shape[:2]
        frames = timestep.shape[0] // rows
        projected = self.time_proj(timestep).type_as(hidden_states)
        temb, embedded = self.t_embedder(projected), self.norm(projected)
        if frames > 1:
            temb = temb.reshape((rows, frames, 1, -1)).tile((1, 1, patches // frames, 1)).flatten(1, 2)
            embedded = embedded.reshape((rows, frames, 1, -1)).tile((1, 1, patches // frames, 1)).flatten(1, 2)
        return temb, embedded

    with _replaced(CosmosEmbedding, "construct", construct):
        yield


@contextmanager
def _told_type() -> Iterator[None]:
    """MindSpore's `MultiheadAttention` computes in the type it was made with, whatever its weights have become since.

    The pipelines with a ControlNetUnionModel tell its attention the type of the latents before they call it. Here it is
    told that of its weights, which is the same.
    """

    def told(self):  # type: ignore[no-untyped-def]
        return self.in_proj_weight.dtype

    # It is a member since it was built; a property of its class comes before that.
    mindspore.nn.MultiheadAttention.dtype = property(told)
    try:
        yield
    finally:
        del mindspore.nn.MultiheadAttention.dtype


@contextmanager
def _normed_weights() -> Iterator[None]:
    """`WeightNorm` writes the weight of its convolution anew each time it is called, into a parameter that no
    checkpoint has. It comes to the same each time: `weights.find_sources` computes it, once.
    """
    from mindone.utils import WeightNorm

    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.weight_norm_cell(x)

    with _replaced(WeightNorm, "construct", construct):
        yield


@contextmanager
def _plain_results() -> Iterator[None]:
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
        _replaced(AudioLDM2ProjectionModel, "construct", project),
        _replaced(AutoencoderKLFlux2, "encode", encode),
        _replaced(AutoencoderKLFlux2, "decode", decode),
        _replaced(MultilingualCLIP, "construct", text),
    ):
        yield


TRACING: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "device_calls": device_calls,
    "joint_sequence": joint_sequence,
    "frame_timesteps": _frame_timesteps,
    "masked_attention": _masked_attention,
    "masked_text": masked_text,
    "normed_weights": _normed_weights,
    "text_decoder": text_decoder,
    "two_axes": two_axes,
    "one_tile": _one_tile,
    "plain_results": _plain_results,
    "qwen_rotary": _qwen_rotary,
    "real_rotary": _real_rotary,
    "told_type": _told_type,
    "unchunked": _unchunked,
    "whole_video": _whole_video,
}
"""By the name an entry of the table of specifications asks for it under."""


@contextmanager
def tracing_stand_ins(names: Sequence[str]) -> Iterator[None]:
    """Put the named stand-ins in place; put the originals back on leaving."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(TRACING[name]())
        yield
