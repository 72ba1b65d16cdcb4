"""For models of videos: their autoencoders, which go through a video in pieces, and what is told of every frame.

Imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from mindspore import mint


@contextmanager
def whole_video() -> Iterator[None]:
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
        stack.enter_context(mock.patch.object(autoencoder_kl_wan.WanResample, "construct", resample))
        stack.enter_context(mock.patch.object(autoencoder_kl_qwenimage.QwenImageResample, "construct", resample))
        stack.enter_context(mock.patch.object(wan, "_encode", wan_encode))
        stack.enter_context(mock.patch.object(wan, "_decode", wan_decode))
        stack.enter_context(mock.patch.object(qwen, "_encode", qwen_encode))
        stack.enter_context(mock.patch.object(qwen, "_decode", qwen_decode))
        yield


@contextmanager
def unchunked() -> Iterator[None]:
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
        mock.patch.object(CogVideoXCausalConv3d, "construct", convolve),
        mock.patch.object(MochiChunkedGroupNorm3D, "construct", construct),
        mock.patch.object(CogVideoXSafeConv3d, "construct", mint.nn.Conv3d.construct),
    ):
        yield


@contextmanager
def one_tile() -> Iterator[None]:
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

    with (
        mock.patch.object(AutoencoderKLAllegro, "_encode", encode),
        mock.patch.object(AutoencoderKLAllegro, "_decode", decode),
    ):
        yield


@contextmanager
def frame_timesteps() -> Iterator[None]:
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

    with mock.patch.object(CosmosEmbedding, "construct", construct):
        yield
