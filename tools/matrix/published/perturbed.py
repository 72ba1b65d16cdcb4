"""Published widths of models that pipelines with perturbed attention guidance run: those of the others."""

from __future__ import annotations

from tools.matrix.published import pictures, videos
from tools.matrix.published.record import SD_2_UNET, Published


def _as(group: str, *parts: str, of: dict[str, Published] = pictures.PUBLISHED) -> Published:
    """Some parts of another group."""
    return Published(of[group].model, {part: of[group].configs[part] for part in parts})


PUBLISHED: dict[str, Published] = {
    "pag_sd": Published("Stable Diffusion 2.1", {"unet": SD_2_UNET}),
    "pag_sd_alone": Published("Stable Diffusion 2.1", {"unet": SD_2_UNET}),
    "pag_xl": _as("sdxl_controlnet", "unet", "text_encoder_2"),
    "pag_sd3": _as("sd3", "transformer", "text_encoder"),
    "pag_pixart": _as("pixart_alpha", "transformer"),
    "pag_hunyuan_dit": _as("hunyuan_dit", "transformer"),
    "pag_kolors": _as("kolors", "unet"),
    "pag_sana": _as("sana", "transformer"),
    "pag_animate_diff": _as("animate_diff", "unet", of=videos.PUBLISHED),
}
