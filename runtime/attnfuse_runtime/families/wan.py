"""Wan 2.1 and 2.2: films of texts, and of the pictures that they begin, and end, with."""

from __future__ import annotations

import html
import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from attnfuse_runtime.errors import InputError, PipelineError
from attnfuse_runtime.families.base import (
    Canvas,
    Conditions,
    Text,
    by_channel,
    given,
    has_part,
    joined,
    per_channel,
    same_length,
)
from attnfuse_runtime.families.videos import Held, Shown, Stages, VideoFamily, spread
from attnfuse_runtime.files import read_json
from attnfuse_runtime.films import ImageProcessor, pixels
from attnfuse_runtime.noise import Array, Generators
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.watching import Clock

_SECOND: Final = "transformer_2"
_ENCODER: Final = "vae_encoder"
_SEEING: Final = "image_encoder"
_OF_PICTURES: Final = "encoder_hidden_states_image"
_PATCHES: Final = "patch_timesteps"
_TOKENS: Final = 512
_PATCH: Final = 2
_FACTORS: Final = (("temporal", 4), ("spatial", 8))

_AS_IT_IS: Final = re.compile(r"[\t\n\r -%'-~]*")
"""What ftfy leaves as it is, but for white space: letters of ASCII, and nothing that HTML writes in another way."""


class Wan(VideoFamily):
    """Films of texts."""

    GUIDANCE = 5.0
    FRAME_RATE = 16

    @classmethod
    def graphs(cls, index: Mapping[str, Any]) -> list[str]:
        """With a second transformer for lower noise, where the pipeline says where it begins (2.2)."""
        return [*super().graphs(index), *([] if index.get("boundary_ratio") is None else [_SECOND])]

    def check(self) -> None:
        """Raise PipelineError where texts are of two lengths, or timesteps of other tokens than the pipeline's."""
        same_length(self, "text_encoder")
        if self.takes(_PATCHES) != self._apart:
            said = "has" if self._apart else "does not have"
            raise PipelineError(
                f"the pipeline {said} expand_timesteps, and transformer was compiled otherwise; compile it for this."
            )

    @property
    def _apart(self) -> bool:
        """Whether every patch has a timestep of its own (2.2, of text and picture)."""
        return bool(self.setup.index.get("expand_timesteps"))

    @property
    def factors(self) -> tuple[int, int, int]:
        """The VAE's, 4 frames and 8 × 8 pixels where it does not say."""
        of_frames, side = (int(self.setup.vae.get(f"scale_factor_{of}", or_else)) for of, or_else in _FACTORS)
        return of_frames, side, side

    def text(self, prompts: Sequence[Prompt], chunks: int, clock: Clock) -> Text:
        """T5's states, and zeros behind each text."""
        cleaned = [Prompt(clean(one.text)) for one in prompts]
        found = self.setup.encoders["text_encoder"](cleaned, clock, length=max(self.tokens, 0) or _TOKENS)
        states = given("state", found.states, "text_encoder")
        return Text(np.where(found.mask[:, :, None] > 0, states, 0), None, found.cut)

    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """States."""
        states, _ = joined(sides)
        return Conditions({"encoder_hidden_states": states})

    def stages(self, scale: float | None, second: float | None) -> Stages:
        """At less noise than `boundary_ratio` says, the second transformer; its scale is the first one's by default."""
        ratio = self.setup.index.get("boundary_ratio")
        if ratio is None:
            return super().stages(scale, second)
        boundary = float(ratio) * self.scheduler.options.num_train_timesteps
        # Whether there is guidance at all, the first one's says.
        after = None if scale is None else scale if second is None else second
        return Stages(self.DENOISER, scale, _SECOND, after, boundary)

    def inputs(self, latents: Array, timestep: Any, held: Held) -> Conditions:
        """Latents, and timesteps of all of it or of every patch."""
        if not self._apart:
            sample = latents if held.latents is None else np.concatenate([latents, held.latents], axis=1)
            return Conditions({self.SAMPLE: sample}, {"timestep": self.time(timestep)})
        free = np.ones((1, 1, *latents.shape[2:]), np.float32) if held.free is None else held.free
        times = (free[0, 0, :, ::_PATCH, ::_PATCH] * np.float32(timestep)).reshape(1, -1)
        return Conditions({self.SAMPLE: self.finished(latents, held), _PATCHES: spread(times, len(latents))})

    def finished(self, latents: Array, held: Held) -> Array:
        """What is known in its place, where every patch has a timestep."""
        if held.free is None or held.latents is None:
            return latents
        return np.asarray((1 - held.free) * held.latents + held.free * latents)

    def unscaled(self, latents: Array) -> Array:
        """By the deviation and the mean of each channel."""
        return by_channel(self, latents)

    def multiple(self) -> int:
        """A patch."""
        return _PATCH


class WanOfPictures(Wan):
    """Films that begin with a picture, and may end with another."""

    @classmethod
    def graphs(cls, index: Mapping[str, Any]) -> list[str]:
        """With the encoder of the VAE, and that of pictures, where there is one (2.1)."""
        return [*super().graphs(index), _ENCODER, *([_SEEING] if has_part(index, _SEEING) else [])]

    def check(self) -> None:
        """Raise PipelineError as Wan does, and where the transformer sees pictures and nothing encodes them."""
        super().check()
        if self.takes(_OF_PICTURES) and _SEEING not in self.setup.pipeline.names:
            raise PipelineError("transformer takes pictures, and the pipeline has no image_encoder; compile that too.")

    def held(self, shown: Shown, canvas: Canvas, generator: Generators, clock: Clock) -> Held:
        """The latents of the film's pictures between empty ones, with a mask before them; or of the first alone."""
        if shown.first is None:
            raise InputError("no image was given; give the picture that the film begins with.")
        if shown.last is not None and self._apart:
            raise InputError("last_image was given, and the pipeline has the first alone; leave it out.")
        count, channels, deep, *sides = canvas.latents
        if shown.last is not None and deep < 2:
            raise InputError("last_image was given, and the film has one frame; leave it out.")
        first = pixels(shown.first, *canvas.pixels)
        video = np.zeros((1, 3, 1 if self._apart else self.frames(canvas), *canvas.pixels), np.float32)
        video[:, :, 0] = first
        if shown.last is not None:
            video[:, :, -1] = pixels(shown.last, *canvas.pixels)
        with clock(_ENCODER):
            moments = run_rows(self.setup.pipeline[_ENCODER], {"video": video})["moments"]
        inverse = np.float32(1) / per_channel(self, "latents_std")
        known = (moments[:, :channels].astype(np.float32) - per_channel(self, "latents_mean")) * inverse
        if self._apart:
            free = np.ones((1, 1, deep, *sides), np.float32)
            free[:, :, 0] = 0
            return Held(known, free)
        # Of each frame that a latent stands for, whether it is known; the first latent stands for one alone.
        mask = np.zeros((1, self.factors[0], deep, *sides), np.float32)
        mask[:, :, 0] = 1
        if shown.last is not None:
            mask[:, -1, -1] = 1
        return Held(spread(np.concatenate([mask, known], axis=1), count))

    def seen(self, shown: Shown, rows: int, clock: Clock) -> Mapping[str, Array]:
        """The states that the image encoder makes of the pictures, where the transformer takes them."""
        told = [one for one in self.denoiser.inputs if one.name == _OF_PICTURES]
        if not told or shown.first is None:
            return {}
        images = [shown.first] if shown.last is None else [shown.first, shown.last]
        wanted = told[0].shape[0] // rows if told[0].shape[0] > 0 else len(images)
        if len(images) != wanted:
            told_of = "the first and the last picture" if wanted > len(images) else "the first picture alone"
            raise InputError(f"transformer takes {told_of}, and {len(images)} were given; give those.")
        config = self.setup.folder / "image_processor" / "preprocessor_config.json"
        processor = ImageProcessor.of(read_json(config))
        values = np.concatenate([processor(one) for one in images])
        with clock(_SEEING):
            states = run_rows(self.setup.pipeline[_SEEING], {"pixel_values": values})["image_embeds"]
        return {_OF_PICTURES: np.tile(states, (rows, 1, 1))}


def clean(text: str) -> str:
    """A prompt as mindone's Wan hands it to the tokenizer: by ftfy, without HTML's entities and odd white space.

    Raises PipelineError where ftfy is not installed, and might change something.
    """
    if not _AS_IT_IS.fullmatch(text):
        try:
            text = importlib.import_module("ftfy").fix_text(text)
        except ImportError:
            raise PipelineError(
                f"the prompt {text!r} has to be cleaned by ftfy, as Wan's prompts are, which is not installed here: "
                "pip install 'attnfuse-runtime[wan]'."
            ) from None
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip()
