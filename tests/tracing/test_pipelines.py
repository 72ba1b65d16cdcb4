"""Every pipeline family, small, through `attnfuse compile`: configurations, weights, graph, census.

The default run has one component of most families; the rest is slow.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.report.model import Manifest, Report
from attnfuse.tracing.plan import plan_all
from tests.support import forks
from tests.support.console import inside
from tests.support.small_models import SMALL, write_configs
from tests.support.traces import locked, shared_folder

pytestmark = pytest.mark.mindspore

#: Softmax nodes and FlashAttentionScore nodes (where mindone's own code places them, on a CPU too) of each component.
QUICK = {
    "sd3/transformer": (2, 0),
    "pixart_alpha/transformer": (2, 0),
}
SLOW = {
    "sd_controlnet/unet": (8, 0),
    "sd3/vae_decoder": (1, 0),
    "sd3/vae_encoder": (1, 0),
    "sd3/text_encoder": (3, 0),
    "sd3/text_encoder_2": (3, 0),
    "sd3/text_encoder_3": (2, 0),
    "sd35/transformer": (3, 0),
    "flux/transformer": (0, 2),
    "flux/text_encoder": (3, 0),
    "flux/text_encoder_2": (2, 0),
    "sd_controlnet/controlnet": (4, 0),
    "sdxl_controlnet/unet": (24, 0),
    "sdxl_controlnet/controlnet": (12, 0),
    "sdxl_controlnet_union/controlnet": (13, 0),
    "hunyuan_dit_controlnet/transformer": (13, 0),
    "hunyuan_dit_controlnet/controlnet": (5, 0),
    "sana_controlnet/transformer": (2, 0),
    "sana_controlnet/controlnet": (1, 0),
    "qwen_image_controlnet/transformer": (0, 2),
    "qwen_image_controlnet/controlnet": (0, 1),
    "animate_diff_sparse/unet": (22, 0),
    "animate_diff_sparse/controlnet": (6, 0),
    "animate_diff_controlnet/controlnet": (4, 0),
    "wan_image_encoder/image_encoder": (2, 0),
    "wan_vace/transformer": (0, 10),
    "sky_reels_2/transformer": (0, 3),
    "sky_reels_2/image_encoder": (2, 0),
    "kandinsky5/transformer": (0, 3),
    "kandinsky5/text_encoder_2": (3, 0),
    "consis_id/transformer": (5, 0),
    "easy_animate/transformer": (2, 0),
    "cosmos/transformer": (4, 0),
    "cosmos_video/transformer": (4, 0),
    "cosmos2/transformer": (4, 0),
    "cosmos2_video/transformer": (4, 0),
    "stable_audio/vae_decoder": (0, 0),
    "stable_audio/vae_encoder": (0, 0),
    "sd_adapter/unet": (8, 0),
    "sd_adapter/adapter": (0, 0),
    "pixart_alpha/text_encoder": (2, 0),
    "pixart_alpha_1024/transformer": (2, 0),
    "dit/transformer": (2, 0),
    "hunyuan_dit/transformer": (5, 0),
    "hunyuan_dit/text_encoder": (2, 0),
    "hunyuan_dit/text_encoder_2": (2, 0),
    "aura_flow/transformer": (2, 0),
    "aura_flow/vae_decoder": (1, 0),
    "aura_flow/text_encoder": (2, 0),
    "sana/transformer": (1, 0),
    "sana/vae_decoder": (0, 0),
    "cogview3/transformer": (2, 0),
    "cogview3/text_encoder": (2, 0),
    "cogview4/transformer": (2, 0),
    "ltx/transformer": (0, 2),
    "ltx/vae_decoder": (0, 0),
    "ltx/text_encoder": (2, 0),
    "wan/transformer": (0, 2),
    "wan/text_encoder": (2, 0),
    "hunyuan_video/transformer": (3, 0),
    "hunyuan_video/text_encoder_2": (3, 0),
    "mochi/transformer": (0, 3),
    "mochi/text_encoder": (2, 0),
    "latte/transformer": (3, 0),
    "latte/text_encoder": (2, 0),
    "animate_diff/unet": (22, 0),
    "animate_diff/text_encoder": (3, 0),
    "cogvideox/transformer": (1, 0),
    "cogvideox/vae_decoder": (0, 0),
    "cogvideox_rotary/transformer": (1, 0),
    "hunyuan_video/vae_decoder": (1, 0),
    "stable_video/unet": (16, 0),
    "i2vgen/unet": (19, 0),
    "hunyuan_video/text_encoder": (2, 0),
    "cogview4_glm/text_encoder": (2, 0),
    "lumina_gemma/text_encoder": (2, 0),  # of the last layer nothing is asked
    "flux2_mistral/text_encoder": (30, 0),
    "audio_ldm_2/unet": (24, 0),
    "audio_ldm_2/projection_model": (0, 0),
    "audio_ldm_2/language_model": (2, 0),
    "audio_ldm_2/text_encoder": (2, 0),
    "kandinsky_text/text_encoder": (2, 0),
    "kolors_glm/text_encoder": (3, 0),
    "sana_gemma2/text_encoder": (3, 0),
    "lumina2_gemma2/text_encoder": (2, 0),  # of the last layer nothing is asked
    "qwen_image_qwen/text_encoder": (2, 0),
    "stable_video_image/image_encoder": (2, 0),
    "kandinsky_prior/prior": (2, 0),
    "kandinsky_prior/text_encoder": (2, 0),
    "kandinsky_prior/image_encoder": (2, 0),
    "stable_audio/transformer": (4, 0),
    "stable_audio/text_encoder": (2, 0),
    "stable_audio/projection_model_start": (0, 0),
    "stable_audio/projection_model_end": (0, 0),
    "sd3_controlnet/transformer": (2, 0),
    "sd3_controlnet/controlnet": (1, 0),
    "flux_controlnet/transformer": (0, 2),
    "flux_controlnet/controlnet": (0, 2),
    "flux_controlnet_pixels/transformer": (0, 2),
    "flux_controlnet_pixels/controlnet": (0, 2),
    "flux2/transformer": (0, 3),
    "flux2/vae_decoder": (1, 0),
    "flux2/vae_encoder": (1, 0),
    "chroma/transformer": (0, 3),
    "qwen_image/transformer": (0, 2),
    "qwen_image/vae_decoder": (0, 1),
    "qwen_image/vae_encoder": (0, 1),
    "lumina/transformer": (4, 0),
    "kandinsky/unet": (4, 0),
    "kolors/unet": (24, 0),
    "wan_image/transformer": (0, 3),
    "cogvideox_image/transformer": (1, 0),
    "sana/vae_encoder": (0, 0),
    "kandinsky3/unet": (19, 0),
    "kandinsky22/unet": (4, 0),
    "kandinsky22/movq_decoder": (3, 0),
    "kandinsky22/movq_encoder": (2, 0),
    "kandinsky22_hint/unet": (4, 0),
    "sd_tiny/vae_decoder": (0, 0),
    "sd_tiny/vae_encoder": (0, 0),
    "allegro/transformer": (2, 0),
    "allegro/vae_decoder_tile": (1, 0),
    "allegro/vae_encoder_tile": (1, 0),
    "mochi/vae_decoder": (0, 0),
    "wan/vae_decoder": (0, 1),
    "wan/vae_encoder": (0, 1),
    "stable_video/vae_decoder": (1, 0),
    "stable_video/vae_encoder": (1, 0),
}

#: What no fused node can do: Gemma 2 bounds its scores, GPT-2 fills some and adds to all.
CANNOT_FUSE = {
    "sana_gemma2/text_encoder": {"structure.soft_cap"},
    "lumina2_gemma2/text_encoder": {"structure.soft_cap"},
    "audio_ldm_2/language_model": {"facts.fully_masked_rows"},
}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that small pipelines are written to; `pipeline` writes them."""
    folder = shared_folder(tmp_path_factory) / "small"
    folder.mkdir(exist_ok=True)
    return folder


def pipeline(written: Path, name: str) -> Path:
    """Write the pipeline, with others that the run needs: importing MindSpore takes longer than writing them."""
    quick = list(dict.fromkeys(item.partition("/")[0] for item in QUICK))
    with locked(written / "lock"):
        if not (written / name).exists():
            folders = [write_configs(written / each, SMALL[each]) for each in (quick if name in quick else [name])]
            done = forks.script("-m", "tests.support.small_weights", *map(str, folders))
            assert done.returncode == 0, done.stderr[-3000:]
    return written / name


def compiled(written: Path, item: str, out: Path) -> None:
    name, _, component = item.partition("/")
    small = SMALL[name]
    options: list[str] = []
    for option in ("batch", "height", "width", "sequence_length", "frames"):
        value = getattr(small.shapes, option)
        options += [] if value is None else [f"--{option.replace('_', '-')}", str(value)]
    folder = pipeline(written, name)
    done = inside("compile", folder, "-o", out, "--component", component, *options, "--runtime", "mindspore")
    assert done.returncode == 0, done.stderr
    (entry,) = Manifest.model_validate_json((out / "manifest.json").read_bytes()).components
    (plan,) = plan_all(folder, "float16", small.shapes, [component]).plans
    assert [(t.name, t.shape, t.dtype) for t in entry.inputs] == [(t.name, t.shape, t.dtype) for t in plan.inputs]
    assert plan.call is not None
    assert [t.name for t in entry.outputs] == [name for name, _ in plan.call.outputs]
    assert (out / entry.graph).is_file()
    report = Report.model_validate_json((out / "report.json").read_bytes())
    totals = report.totals
    expected = {**QUICK, **SLOW}[item]
    assert (totals.softmax, totals.already_fused) == expected
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == small.pipeline
    missed = {s.code: s.reason for c in report.components for s in c.sites if s.status == "missed"}
    assert missed.keys() <= CANNOT_FUSE.get(item, set()), missed


@pytest.mark.parametrize("item", QUICK)
def test_a_component_of_a_pipeline(written: Path, item: str, tmp_path: Path) -> None:
    compiled(written, item, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("item", SLOW)
def test_every_component_of_a_pipeline(written: Path, item: str, tmp_path: Path) -> None:
    compiled(written, item, tmp_path / "out")
