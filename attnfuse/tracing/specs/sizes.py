"""Sizes that several families compute alike."""

from __future__ import annotations

from attnfuse.tracing.specs.context import SpecContext


def vae_scale(context: SpecContext) -> int:
    """Pixels per latent: each VAE block but the last halves the image; 8 where there is no VAE."""
    return 2 ** (len(context.numbers("block_out_channels", "vae")) - 1) if context.has("vae") else 8


def picture_sizes(
    context: SpecContext, scale: int, multiple: int, *, guided: bool = True, side: int = 0
) -> dict[str, int]:
    """What a transformer of pictures needs: the default is `side` pixels square, else its `sample_size` × `scale`."""

    def default() -> tuple[int, int]:
        if side:
            return side, side
        if context.has("transformer"):
            size = context.number("sample_size", "transformer") * scale
        else:
            size = context.number("sample_size", "vae") if context.has("vae") else multiple
        return size, size

    height, width = context.image(default, multiple, "the VAE's downscaling and the transformer's patches")
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=guided),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
    }


def packed_sizes(context: SpecContext) -> dict[str, int]:
    """Those of Flux: the VAE's downscaling as its blocks say, and 512 tokens at most."""
    return packed_sizes_at(context, vae_scale(context), limit=512)


def packed_sizes_at(context: SpecContext, scale: int, limit: int = 0) -> dict[str, int]:
    """128 latents × `scale`, the VAE's downscaling, packed two by two into "image_tokens"; one row an image.

    512 tokens, or as many as were asked for; UsageError beyond `limit`, if there is one.
    """
    height, width = context.image(lambda: (128 * scale,) * 2, 2 * scale, "the VAE's downscaling and the packing")
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=False),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "image_tokens": (height // (2 * scale)) * (width // (2 * scale)),
        "tokens": context.text(512, limit),
    }


def patch_pixels(context: SpecContext, scale: int) -> int:
    """Pixels per patch of the transformer."""
    return scale * (context.number("patch_size", "transformer", 2))


def video_sizes(
    context: SpecContext, size: tuple[int, int], spatial: int, multiple: int, frames: tuple[int, int], *, guided: bool
) -> dict[str, int]:
    """Sizes from the defaults: height and width, pixels per latent, a multiple, frames and frames per latent."""
    height, width = context.image(lambda: size, multiple, "the VAE's downscaling and the transformer's patches")
    count, latents = context.latent_frames(*frames)
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=guided),
        "height": height,
        "width": width,
        "frames": count,
        "latent_height": height // spatial,
        "latent_width": width // spatial,
        "latent_frames": latents,
    }


COMPRESSION_RATIOS = ("spatial_compression_ratio", "temporal_compression_ratio")
"""What those autoencoders call pixels and frames per latent."""
