"""What crosses the process border comes back equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.tracing.contract import Call, ComponentPlan, TensorSpec, TracedComponent, WeightSource

PLAN = ComponentPlan(
    name="vae_decoder",
    model="vae",
    class_name="AutoencoderKL",
    library="diffusers",
    folder=Path("/somewhere/vae"),
    call=Call("decode", (("z", "latents"), ("return_dict", "False")), (("image", "result[0]"),)),
    dtype="bfloat16",
    inputs=(TensorSpec("latents", (1, 4, 8, 8), "bfloat16"),),
)

TRACED = TracedComponent(
    plan=PLAN,
    graph=Path("/elsewhere/graph.mindir"),
    weights=(
        WeightSource("conv.weight", Path("/somewhere/vae/a.safetensors"), "conv.weight", "bfloat16", (4, 4, 1, 1)),
    ),
    outputs=(TensorSpec("image", (1, 3, 64, 64), "bfloat16"),),
    versions={"mindspore": "2.7.1"},
    seconds=1.5,
    peak_rss_bytes=1 << 30,
)


def test_round_trip_through_text() -> None:
    assert TracedComponent.from_json(json.loads(json.dumps(TRACED.to_json()))) == TRACED


@pytest.mark.parametrize("field", sorted(PLAN.to_json()))
def test_a_missing_field_is_an_error(field: str) -> None:
    data = PLAN.to_json()
    del data[field]
    with pytest.raises(KeyError, match=field):
        ComponentPlan.from_json(data)
