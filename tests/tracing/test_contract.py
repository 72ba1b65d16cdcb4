"""What crosses the process border comes back equal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from attnfuse.serialisation import from_json, to_json
from attnfuse.tracing.contract import Call, ComponentPlan, FixedValue, StoredWeight, TensorSpec, TracedComponent

PLAN = ComponentPlan(
    name="vae_decoder",
    model="vae",
    class_name="AutoencoderKL",
    library="diffusers",
    folder=Path("/somewhere/vae"),
    call=Call("decode", (("z", "latents"), ("return_dict", "False")), (("image", "result[0]"),)),
    dtype="bfloat16",
    inputs=(TensorSpec("latents", (1, 4, 8, 8), "bfloat16"),),
    package="",
    variant="",
    checkpoint=None,
    processors=(),
    ip_adapter=None,
    patches=("one",),
    fixed=(FixedValue("guidance", 7.5, "what it comes to"),),
)

TRACED = TracedComponent(
    plan=PLAN,
    graph=Path("/elsewhere/graph.mindir"),
    weights=(
        StoredWeight("conv.weight", Path("/somewhere/vae/a.safetensors"), "conv.weight", "bfloat16", (4, 4, 1, 1)),
    ),
    outputs=(TensorSpec("image", (1, 3, 64, 64), "bfloat16"),),
    versions={"mindspore": "2.7.1"},
    seconds=1.5,
    peak_rss_bytes=1 << 30,
)


def test_round_trip_through_text() -> None:
    assert from_json(TracedComponent, json.loads(json.dumps(to_json(TRACED)))) == TRACED


@pytest.mark.parametrize("field", sorted(to_json(PLAN)))
def test_a_missing_field_is_an_error(field: str) -> None:
    data = to_json(PLAN)
    del data[field]
    with pytest.raises(ValueError, match=rf"^ComponentPlan\.{field}: field required$"):
        from_json(ComponentPlan, data)


def test_a_wrong_field_is_named() -> None:
    data = to_json(TRACED)
    data["weights"][0]["shape"][1] = "four"
    with pytest.raises(ValueError, match=r"^TracedComponent\.weights\.0\.shape\.1: input should be a valid integer"):
        from_json(TracedComponent, data)


def test_any_number_comes_back() -> None:
    fixed = FixedValue("sigma_max", [float("inf"), 1e-300, {"a": -0.0}], "what it comes to")
    assert from_json(FixedValue, to_json(fixed)) == fixed


def test_what_is_about_a_plan_is_not_saved() -> None:
    plan = replace(PLAN, twins=(PLAN,), dtype_from="asked for", warnings=("look",))
    assert to_json(plan) == to_json(PLAN)
    assert not {"twins", "dtype_from", "warnings"} & set(to_json(PLAN))
