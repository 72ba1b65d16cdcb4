"""Names and shapes of the tensors in a diffusers checkpoint, derived from a model's config.json.

These are the names PyTorch diffusers and transformers write (`norm1.weight`, `to_out.0.weight`, …): facts of
the checkpoint format, needed to write checkpoints without either library. Imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Tensors = Iterator[tuple[str, tuple[int, ...]]]
Config = Mapping[str, Any]


def unet_tensors(config: Config) -> Tensors:
    """Yield (name, shape) of a UNet2DConditionModel with the blocks of Stable Diffusion 1.x, 2.x or XL."""
    channels: Sequence[int] = config["block_out_channels"]
    layers = config["layers_per_block"]
    context = config["cross_attention_dim"]
    depths = _per_block(config.get("transformer_layers_per_block", 1), len(channels))
    linear = config.get("use_linear_projection", False)
    embedding = channels[0] * 4

    yield from _affine("conv_in", (channels[0], config["in_channels"], 3, 3))
    yield from _affine("time_embedding.linear_1", (embedding, channels[0]))
    yield from _affine("time_embedding.linear_2", (embedding, embedding))
    if config.get("addition_embed_type") == "text_time":
        width = config["projection_class_embeddings_input_dim"]
        yield from _affine("add_embedding.linear_1", (embedding, width))
        yield from _affine("add_embedding.linear_2", (embedding, embedding))

    skips = [channels[0]]
    before = channels[0]
    for i, kind in enumerate(config["down_block_types"]):
        prefix = f"down_blocks.{i}"
        for j in range(layers):
            yield from _resnet(f"{prefix}.resnets.{j}", before, channels[i], embedding)
            if kind.startswith("CrossAttn"):
                yield from _transformer(f"{prefix}.attentions.{j}", channels[i], context, depths[i], linear)
            before = channels[i]
            skips.append(before)
        if i < len(channels) - 1:
            yield from _affine(f"{prefix}.downsamplers.0.conv", (before, before, 3, 3))
            skips.append(before)

    middle = channels[-1]
    yield from _resnet("mid_block.resnets.0", middle, middle, embedding)
    yield from _transformer("mid_block.attentions.0", middle, context, depths[-1], linear)
    yield from _resnet("mid_block.resnets.1", middle, middle, embedding)

    for i, kind in enumerate(config["up_block_types"]):
        prefix = f"up_blocks.{i}"
        level = len(channels) - 1 - i
        for j in range(layers + 1):
            yield from _resnet(f"{prefix}.resnets.{j}", before + skips.pop(), channels[level], embedding)
            if kind.startswith("CrossAttn"):
                yield from _transformer(f"{prefix}.attentions.{j}", channels[level], context, depths[level], linear)
            before = channels[level]
        if i < len(channels) - 1:
            yield from _affine(f"{prefix}.upsamplers.0.conv", (before, before, 3, 3))

    yield from _norm("conv_norm_out", channels[0])
    yield from _affine("conv_out", (config["out_channels"], channels[0], 3, 3))


def sd3_tensors(config: Config) -> Tensors:
    """Yield (name, shape) of the SD3Transformer2DModel of Stable Diffusion 3 (3.5 adds norms of q and k)."""
    width = config["attention_head_dim"] * config["num_attention_heads"]
    patch, last = config["patch_size"], config["num_layers"] - 1
    yield "pos_embed.pos_embed", (1, config["pos_embed_max_size"] ** 2, width)
    yield from _affine("pos_embed.proj", (width, config["in_channels"], patch, patch))
    yield from _embedders("time_text_embed", ("timestep",), width, config["pooled_projection_dim"])
    yield from _affine("context_embedder", (width, config["joint_attention_dim"]))
    for i in range(config["num_layers"]):
        yield from _joint_block(f"transformer_blocks.{i}", width, None, keeps_text=i < last)
    yield from _affine("norm_out.linear", (2 * width, width))
    yield from _affine("proj_out", (patch * patch * config["out_channels"], width))


def flux_tensors(config: Config) -> Tensors:
    """Yield (name, shape) of a FluxTransformer2DModel."""
    head = config["attention_head_dim"]
    width = head * config["num_attention_heads"]
    times = ("timestep", "guidance") if config["guidance_embeds"] else ("timestep",)
    yield from _embedders("time_text_embed", times, width, config["pooled_projection_dim"])
    yield from _affine("context_embedder", (width, config["joint_attention_dim"]))
    yield from _affine("x_embedder", (width, config["in_channels"]))
    for i in range(config["num_layers"]):
        yield from _joint_block(f"transformer_blocks.{i}", width, head, keeps_text=True)
    for i in range(config["num_single_layers"]):
        block = f"single_transformer_blocks.{i}"
        yield from _affine(f"{block}.norm.linear", (3 * width, width))
        yield from _affine(f"{block}.proj_mlp", (4 * width, width))
        yield from _affine(f"{block}.proj_out", (width, 5 * width))
        for name in ("to_q", "to_k", "to_v"):
            yield from _affine(f"{block}.attn.{name}", (width, width))
        for name in ("norm_q", "norm_k"):
            yield f"{block}.attn.{name}.weight", (head,)
    yield from _affine("norm_out.linear", (2 * width, width))
    yield from _affine("proj_out", (config["in_channels"], width))


def vae_tensors(config: Config, *, legacy_attention: bool = False) -> Tensors:
    """Yield (name, shape) of an AutoencoderKL.

    `legacy_attention` names the mid block's attention as checkpoints older than diffusers 0.12 do
    (`query`, `key`, `value`, `proj_attn`); the first Stable Diffusion repositories still hold such files.
    """
    channels: Sequence[int] = config["block_out_channels"]
    layers = config["layers_per_block"]
    latent = config["latent_channels"]

    yield from _affine("encoder.conv_in", (channels[0], config["in_channels"], 3, 3))
    before = channels[0]
    for i, width in enumerate(channels):
        for j in range(layers):
            yield from _resnet(f"encoder.down_blocks.{i}.resnets.{j}", before, width)
            before = width
        if i < len(channels) - 1:
            yield from _affine(f"encoder.down_blocks.{i}.downsamplers.0.conv", (width, width, 3, 3))
    yield from _vae_middle("encoder", channels[-1], legacy_attention)
    yield from _norm("encoder.conv_norm_out", channels[-1])
    yield from _affine("encoder.conv_out", (2 * latent, channels[-1], 3, 3))

    yield from _affine("decoder.conv_in", (channels[-1], latent, 3, 3))
    yield from _vae_middle("decoder", channels[-1], legacy_attention)
    before = channels[-1]
    for i, width in enumerate(reversed(channels)):
        for j in range(layers + 1):
            yield from _resnet(f"decoder.up_blocks.{i}.resnets.{j}", before, width)
            before = width
        if i < len(channels) - 1:
            yield from _affine(f"decoder.up_blocks.{i}.upsamplers.0.conv", (width, width, 3, 3))
    yield from _norm("decoder.conv_norm_out", channels[0])
    yield from _affine("decoder.conv_out", (config["out_channels"], channels[0], 3, 3))

    yield from _affine("quant_conv", (2 * latent, 2 * latent, 1, 1))
    yield from _affine("post_quant_conv", (latent, latent, 1, 1))


def clip_text_tensors(config: Config) -> Tensors:
    """Yield (name, shape) of a CLIPTextModel, or of a CLIPTextModelWithProjection where the config names it."""
    width = config["hidden_size"]
    inner = config["intermediate_size"]
    yield "text_model.embeddings.token_embedding.weight", (config["vocab_size"], width)
    yield "text_model.embeddings.position_embedding.weight", (config["max_position_embeddings"], width)
    for i in range(config["num_hidden_layers"]):
        prefix = f"text_model.encoder.layers.{i}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _affine(f"{prefix}.self_attn.{projection}", (width, width))
        yield from _norm(f"{prefix}.layer_norm1", width)
        yield from _affine(f"{prefix}.mlp.fc1", (inner, width))
        yield from _affine(f"{prefix}.mlp.fc2", (width, inner))
        yield from _norm(f"{prefix}.layer_norm2", width)
    yield from _norm("text_model.final_layer_norm", width)
    if "CLIPTextModelWithProjection" in config.get("architectures", ()):
        yield "text_projection.weight", (config["projection_dim"], width)


def _per_block(value: int | Sequence[int], blocks: int) -> Sequence[int]:
    return [value] * blocks if isinstance(value, int) else value


def _affine(name: str, weight: tuple[int, ...]) -> Tensors:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def _norm(name: str, width: int) -> Tensors:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _resnet(name: str, before: int, after: int, embedding: int | None = None) -> Tensors:
    yield from _norm(f"{name}.norm1", before)
    yield from _affine(f"{name}.conv1", (after, before, 3, 3))
    if embedding is not None:
        yield from _affine(f"{name}.time_emb_proj", (after, embedding))
    yield from _norm(f"{name}.norm2", after)
    yield from _affine(f"{name}.conv2", (after, after, 3, 3))
    if before != after:
        yield from _affine(f"{name}.conv_shortcut", (after, before, 1, 1))


def _transformer(name: str, width: int, context: int, depth: int, linear: bool) -> Tensors:
    projection = (width, width) if linear else (width, width, 1, 1)
    yield from _norm(f"{name}.norm", width)
    yield from _affine(f"{name}.proj_in", projection)
    for k in range(depth):
        block = f"{name}.transformer_blocks.{k}"
        for i, source in enumerate((width, context), start=1):
            yield from _norm(f"{block}.norm{i}", width)
            yield f"{block}.attn{i}.to_q.weight", (width, width)
            yield f"{block}.attn{i}.to_k.weight", (width, source)
            yield f"{block}.attn{i}.to_v.weight", (width, source)
            yield from _affine(f"{block}.attn{i}.to_out.0", (width, width))
        yield from _norm(f"{block}.norm3", width)
        yield from _affine(f"{block}.ff.net.0.proj", (8 * width, width))  # GEGLU: value and gate, 4× each
        yield from _affine(f"{block}.ff.net.2", (width, 4 * width))
    yield from _affine(f"{name}.proj_out", projection)


def _embedders(name: str, times: Sequence[str], width: int, pooled: int) -> Tensors:
    """The two layers each for a time (256 sines wide) and for the pooled text."""
    for kind, wide in (*((time, 256) for time in times), ("text", pooled)):
        yield from _affine(f"{name}.{kind}_embedder.linear_1", (width, wide))
        yield from _affine(f"{name}.{kind}_embedder.linear_2", (width, width))


def _joint_block(name: str, width: int, normed: int | None, *, keeps_text: bool) -> Tensors:
    """A block of image and text; `normed` is the width of a head where q and k are normed, else None.

    The text that a last block does not hand on (`keeps_text` false) is only read: it has no way out of the attention.
    """
    projections = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj"]
    yield from _affine(f"{name}.norm1.linear", (6 * width, width))
    yield from _affine(f"{name}.norm1_context.linear", ((6 if keeps_text else 2) * width, width))
    for projection in [*projections, "to_add_out"] if keeps_text else projections:
        yield from _affine(f"{name}.attn.{projection}", (width, width))
    if normed is not None:
        for norm in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            yield f"{name}.attn.{norm}.weight", (normed,)
    for part in ("ff", "ff_context") if keeps_text else ("ff",):
        yield from _affine(f"{name}.{part}.net.0.proj", (4 * width, width))
        yield from _affine(f"{name}.{part}.net.2", (width, 4 * width))


def _vae_middle(name: str, width: int, legacy_attention: bool) -> Tensors:
    if legacy_attention:
        projections = ("query", "key", "value", "proj_attn")
    else:
        projections = ("to_q", "to_k", "to_v", "to_out.0")
    yield from _norm(f"{name}.mid_block.attentions.0.group_norm", width)
    for projection in projections:
        yield from _affine(f"{name}.mid_block.attentions.0.{projection}", (width, width))
    yield from _resnet(f"{name}.mid_block.resnets.0", width, width)
    yield from _resnet(f"{name}.mid_block.resnets.1", width, width)
