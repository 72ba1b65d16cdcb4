"""A source that is far from float64 in its own type is told with module and type that holds it; others are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attnfuse import cli
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.verify import verify_component
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.numbers.accuracy import OWN_ERROR
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded

BATCH, LENGTH, HEADS, HEAD = 2, 24, 4, 16
CHANNELS = HEADS * HEAD


def layers(dtype: DType, gains: list[float]) -> GraphBuilder:
    """Self-attention with residuals; scores are as peaked as a layer's gain is large."""
    g = GraphBuilder("layers")
    x = g.input("sample", (BATCH, LENGTH, CHANNELS), dtype)
    for number, gain in enumerate(gains):

        def heads(name: str, factor: float, x: str = x, number: int = number) -> str:
            path = f"blocks.{number}.attn.{name}.weight"
            weight = g.parameter(path, seeded(path, (CHANNELS, CHANNELS), dtype, factor * CHANNELS**-0.5))
            y = g.node("Dense", [x, weight, g.constant(None)], g.type_of(x))
            return g.transpose(g.reshape(y, (BATCH, LENGTH, HEADS, HEAD)), (0, 2, 1, 3))

        q, k, v = heads("to_q", gain), heads("to_k", gain), heads("to_v", 1.0)
        scores = g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), HEAD**-0.5)
        joined = g.transpose(g.matmul_ext(g.softmax(scores), v), (0, 2, 1, 3))
        x = g.add(x, g.reshape(joined, (BATCH, LENGTH, CHANNELS)))
    g.output(x)
    return g


def told(model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Warnings of a right rewrite, which passes."""
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))
    files = folder / "original.mindir", folder / "fused.mindir"
    files[0].write_bytes(codec.serialise(model.proto))
    fuse(model, "lite")
    files[1].write_bytes(codec.serialise(model.proto))
    result = verify_component(name="x", original=files[0], fused=files[1], level="full", seed=0, work=folder)
    assert result.findings == ()
    return result.warnings


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16, FLOAT32], ids=str)
def test_a_source_that_is_accurate_is_no_cause_for_a_word(
    dtype: DType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(layers(dtype, [1.0] * 3).model(), tmp_path, monkeypatch) == ()


@pytest.mark.parametrize(("dtype", "other"), [(FLOAT16, "bfloat16"), (BFLOAT16, "float16")])
def test_peaked_layers_are_told_with_the_first_and_the_type_that_holds_them(
    dtype: DType, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (warning,) = told(layers(dtype, [1.0, 1.0, *[4.0] * 5]).model(), tmp_path, monkeypatch)
    assert f"the source itself, in its own types ({dtype}), is " in warning
    assert "off its float64 value at output " in warning
    number = int(warning.partition("in module blocks.")[2].partition(".attn")[0])
    assert number >= 2  # the layers before are not peaked
    assert "; float32 holds it (" in warning
    assert f"{other}: " in warning


def test_values_that_float16_cannot_hold_are_told_and_bfloat16_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = layers(FLOAT16, [1.0])
    (x,) = g._outputs
    weights = np.full((CHANNELS, CHANNELS), 300, np.float16)
    weights[1:] = np.eye(CHANNELS)[1:]  # one channel of many leaves the type
    wide = g.node("Dense", [g.muls(x, 60.0), g.parameter("head.weight", weights), g.constant(None)], g.type_of(x))
    g._outputs = [wide]
    (warning,) = told(g.model(), tmp_path, monkeypatch)
    assert "of its values NaN or infinite that are finite in float64" in warning
    assert "first more than 5 % off in module head (" in warning
    assert "; bfloat16 holds it (bfloat16: " in warning


def test_a_cast_that_costs_more_than_the_source_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = told(layers(FLOAT32, [4.0] * 5).model(), tmp_path, monkeypatch)
    assert "that is what the type costs that attention is computed in" in warning


def test_independent_roundings_stay_far_below() -> None:
    """A rounding is off by u/√3 at most in the mean; the square root of their number grows to OWN_ERROR at hundreds."""
    assert (OWN_ERROR / (BFLOAT16.unit_roundoff / 3**0.5)) ** 2 > 450


def test_a_compile_warns_and_certifies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))
    source = layers(FLOAT16, [4.0] * 6).write(tmp_path / "unet.mindir")
    out = tmp_path / "out"
    assert cli.run(["compile", str(source), "-o", str(out), "--verify", "full", "--progress", "never"]) == 0
    error = capsys.readouterr().err
    (told_of,) = json.loads((out / "verification.json").read_bytes())["components"][0]["warnings"]
    assert f"warning: unet: {told_of}" in error
    assert "module blocks." in told_of
