"""What Stable Diffusion 3 hands over."""

from __future__ import annotations

from pathlib import Path

from tests.support.small_models import SMALL
from tests.tracing.test_specs import planned, shapes_of


def test_stable_diffusion_3(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["sd3"])
    assert list(found) == [
        "transformer",
        "vae_decoder",
        "vae_encoder",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
    ]
    assert shapes_of(found["transformer"]) == {
        "hidden_states": (2, 4, 12, 16),
        "encoder_hidden_states": (2, 77 + 11, 24),
        "pooled_projections": (2, 20),
        "timestep": (2,),
    }
    assert found["transformer"].inputs[-1].dtype == "float32"
    assert shapes_of(found["text_encoder_2"]) == {"input_ids": (1, 77)}
    assert shapes_of(found["text_encoder_3"]) == {"input_ids": (1, 11)}


def test_stable_diffusion_3_without_t5_has_zeros_in_its_place(tmp_path: Path) -> None:
    found = planned(tmp_path, SMALL["sd35"])
    assert shapes_of(found["transformer"])["encoder_hidden_states"] == (2, 77 + 77, 24)
