"""What a LoRA adds: exact up to float64's last bits whatever the order of sums, rounded once with the weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from attnfuse.errors import SourceError
from attnfuse.mindir import low_rank, rounding
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.mindir.edits import Cut, Pad, WeightEdits
from attnfuse.mindir.external import lay_out, parameter_name, parameters
from attnfuse.mindir.low_rank import LowRank
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.mindir.streaming import value_chunks
from attnfuse.mindir.taken import Taken
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.mindir.values import WeightValues
from tests.support.lora_files import factors


@dataclass(frozen=True)
class Tensor:
    file: Path
    key: str
    taken: Taken | None = None


def model_of(name: str, shape: tuple[int, ...], dtype: DType) -> ModelProto:
    model = ModelProto()
    model.graph.parameter.add(name=f"g:{name}", data_type=dtype.wire).dims.extend(shape)
    lay_out(model, "v/data_0")
    return model


def prepared(
    folder: Path, shape: tuple[int, ...], dtype: DType, ranks: tuple[int, ...]
) -> tuple[StoredWeights, npt.NDArray[np.float64], ModelProto]:
    """A weight with LoRAs of these ranks, and what it comes to in float64."""
    base = np.random.default_rng(1).standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float32)
    save_file({"w.weight": base}, folder / "m.safetensors")
    wanted, added = base.astype(np.float64), []
    for number, rank in enumerate(ranks):
        up, down = factors(f"w{number}", shape, rank)
        save_file({"u": up, "d": down}, folder / f"{number}.safetensors")
        added.append(LowRank(folder / f"{number}.safetensors", "u", "d", 0.3 - number))
        product = up.reshape(shape[0], rank).astype(np.float64) @ down.reshape(rank, -1).astype(np.float64)
        wanted += (0.3 - number) * product.reshape(shape)
    model = model_of("w.weight", shape, dtype)
    sources = {"w.weight": Tensor(folder / "m.safetensors", "w.weight")}
    return StoredWeights(model, {}, sources, {"w.weight": added}), wanted, model


def read(weights: StoredWeights, dtype: DType, first: int = 0, last: int | None = None) -> npt.NDArray[np.float64]:
    overflow: list[str] = []
    chunks = weights.read("w.weight", overflow, first, last)
    assert chunks is not None
    values = np.frombuffer(b"".join(chunks), dtype.numpy).astype(np.float64)
    assert overflow == []
    return values


@pytest.mark.parametrize("shape", [(37, 23), (12, 5, 3, 3), (6, 4, 1, 1)])
@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16, FLOAT32])
@pytest.mark.parametrize("ranks", [(1,), (4, 300)])
def test_it_is_rounded_once(tmp_path: Path, shape: tuple[int, ...], dtype: DType, ranks: tuple[int, ...]) -> None:
    weights, wanted, _ = prepared(tmp_path, shape, dtype, ranks)
    got = read(weights, dtype).reshape(shape)
    error = np.abs(got - wanted)
    # Half of a unit in the last place, and nothing that a second rounding would add to it.
    half = np.abs(wanted) * dtype.unit_roundoff * (1 + 1e-6) + 1e-7 * 2.0**-20
    assert (error <= half).all()


@pytest.mark.parametrize("bounds", [(0, 1), (7, 8), (22, 24), (100, 377), (850, 851), (0, 851)])
def test_any_run_of_elements_is_the_same_bits(
    tmp_path: Path, bounds: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, _, _ = prepared(tmp_path, (37, 23), FLOAT32, (5,))
    whole = read(weights, FLOAT32)
    monkeypatch.setattr("attnfuse.mindir.stored._BLOCK", 3 * 23)
    np.testing.assert_array_equal(read(weights, FLOAT32, *bounds), whole[slice(*bounds)])


def test_the_order_of_sums_does_not_matter() -> None:
    """Products of halves are whole numbers that float64 holds: reversed, they sum to the same bits."""
    random = np.random.default_rng(3)
    up = random.standard_normal((9, 128)) * 2.0 ** random.integers(-30, 30, (9, 1))
    down = random.standard_normal((128, 11)) * 2.0 ** random.integers(-30, 30, (1, 11))
    (uh, ul), (dh, dl) = low_rank._halves(up, 1), low_rank._halves(down, 0)
    assert (np.abs(uh + ul - up) <= np.abs(up).max(axis=1, keepdims=True) * 2.0**-46).all()
    for left, right in ((uh, dh), (uh, dl), (ul, dh)):
        products = left[:, :, None] * right[None]
        forwards = np.add.accumulate(products, axis=1)[:, -1]
        np.testing.assert_array_equal(forwards, np.add.accumulate(products[:, ::-1], axis=1)[:, -1])
        np.testing.assert_array_equal(forwards, left @ right)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16, FLOAT32])
@pytest.mark.parametrize("ranks", [(1,), (4, 300)])
@pytest.mark.parametrize("away", [1.0, -1.0])
def test_what_a_processor_makes_of_the_product_does_not_matter(
    tmp_path: Path, dtype: DType, ranks: tuple[int, ...], away: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums are as far off as they can be, and many weights lie in the middle of two numbers of the type."""
    weights, _, _ = prepared(tmp_path, (37, 23), dtype, ranks)
    base = weights._file(weights.parameters["w.weight"], Tensor(tmp_path / "m.safetensors", "w.weight"))
    values = base.values("w.weight").astype(np.float64)
    deltas = low_rank.opened([one for one in weights._added["w.weight"] if isinstance(one, LowRank)], {})
    rows, columns = (axis.reshape(-1) for axis in np.indices(values.shape))
    near = low_rank.Delta.near
    bits = np.dtype(f"u{dtype.itemsize}")
    for _ in range(2):
        wanted = values.reshape(-1).copy()
        for delta in deltas:
            delta.add_to(wanted, rows, columns)
        expected = rounding.rounded(wanted, dtype)
        monkeypatch.setattr(low_rank.Delta, "near", lambda d, *rows: near(d, *rows) + away * d.error)
        made, _ = low_rank.merged(values, deltas, 0, dtype)
        np.testing.assert_array_equal(made.reshape(-1).view(bits), expected.view(bits))
        step = np.abs(np.nextafter(expected.view(dtype.numpy), np.array(0, dtype.numpy)).astype(np.float64) - expected)
        values = values + (expected + step / 2 - wanted).reshape(values.shape)  # now all but in the middle


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
@pytest.mark.parametrize("margin", [0.0, 1e-18, 1e-9, 1e-3, 1e30, math.inf, math.nan])
def test_numbers_that_may_be_rounded_otherwise_are_found(dtype: DType, margin: float) -> None:
    """All numbers of the type, the middles between them, and what is beside those."""
    steps = np.arange(0, 2**16, dtype=np.uint16).view(dtype.numpy)
    with np.errstate(invalid="ignore"):  # of those that are none
        numbers = np.unique(steps.astype(np.float32)).astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    places = np.concatenate([finite, (finite[1:] + finite[:-1]) / 2])[::5]
    beside = [places * (1 + sign * 2.0**-power) for sign in (1, -1) for power in (52, 40, 24, 23, 22)]
    values = np.concatenate([places, *beside, [3e38, -3e38, 5e-324]])
    made, doubtful, largest = rounding.rounded_within(values, margin, 0.0, dtype)
    certain = np.setdiff1d(np.arange(values.size), doubtful)
    assert largest >= 3e38
    for away in (0.0, margin, -margin) if math.isfinite(margin) else ():
        expected = rounding.rounded(values[certain] + away, dtype)
        np.testing.assert_array_equal(made[certain].view(np.uint16), expected.view(np.uint16))
    assert certain.size == 0 if not math.isfinite(margin) else certain.size > 0


def test_it_is_merged_before_it_is_padded_and_cut(tmp_path: Path) -> None:
    weights, wanted, _ = prepared(tmp_path, (6, 8), FLOAT16, (3,))
    edits = WeightEdits(FLOAT32, (Pad(0, 2, 1),), (Cut(1, 2, 7),))
    made = model_of(edits.name("w.weight"), (8, 5), FLOAT32)
    (parameter,) = parameters(made)
    assert parameter_name(parameter) not in weights.parameters
    got = np.frombuffer(b"".join(value_chunks(parameter, weights, [])), np.float32).reshape(8, 5)
    rounded = wanted.astype(np.float16).astype(np.float32)[:, 2:7]
    zeros = np.zeros((1, 5), np.float32)
    np.testing.assert_array_equal(got, np.concatenate([rounded[:3], zeros, rounded[3:], zeros]))


def test_values_that_decide_have_it(tmp_path: Path) -> None:
    weights, wanted, model = prepared(tmp_path, (6, 8), FLOAT32, (3,))
    sources = {"w.weight": Tensor(tmp_path / "m.safetensors", "w.weight")}
    added = {"w.weight": [LowRank(tmp_path / "0.safetensors", "u", "d", 0.3)]}
    got = WeightValues(model, {}, sources, added)("w.weight")
    assert got is not None
    np.testing.assert_allclose(got.astype(np.float64), wanted, rtol=1e-6, atol=1e-7)
    assert WeightValues(model, {}, sources, added).digest("w.weight") != WeightValues(model, {}, sources).digest(
        "w.weight"
    )
    assert weights.parameters.keys() == {"w.weight"}


def test_rows_of_a_layer_that_joins_several(tmp_path: Path) -> None:
    up, down = factors("qkv", (21, 5), 2)
    save_file({"u": up, "d": down}, tmp_path / "l.safetensors")
    whole = (up @ down).astype(np.float64)
    file = TensorFile(tmp_path / "l.safetensors")
    for rows, wanted in ((((3, 7),), whole[9:]), (((4, 7), (0, 4)), np.concatenate([whole[12:], whole[:12]]))):
        delta = low_rank.Delta(LowRank(file.path, "u", "d", 1.0, rows, 7), file)
        assert delta.shape == wanted.shape
        added = np.zeros(wanted.shape)
        rows_, columns = np.indices(wanted.shape)
        flat = added.reshape(-1)
        delta.add_to(flat, rows_.reshape(-1), columns.reshape(-1))
        np.testing.assert_allclose(added, wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(delta.near(0, len(wanted)), added, rtol=0, atol=delta.error)


@pytest.mark.parametrize(
    ("up", "down", "told"),
    [
        ((6, 2), (3, 8), "do not fit each other"),
        ((6, 2, 3, 3), (2, 8, 1, 1), "do not fit each other"),
        ((6,), (2, 8), "do not fit each other"),
        ((6, 2), (2, 9), r"adds to parameter 'w\.weight' has shape \[6, 9\], and the parameter \[6, 8\]"),
        ((3, 2), (2, 16), r"has shape \[3, 16\], and the parameter \[6, 8\]"),
    ],
)
def test_factors_that_do_not_fit(tmp_path: Path, up: tuple[int, ...], down: tuple[int, ...], told: str) -> None:
    weights, _, _ = prepared(tmp_path, (6, 8), FLOAT32, (3,))
    save_file({"u": np.ones(up, np.float32), "d": np.ones(down, np.float32)}, tmp_path / "0.safetensors")
    with pytest.raises(SourceError, match=told):
        read(weights, FLOAT32)


def test_numbers_that_are_none_and_those_too_large(tmp_path: Path) -> None:
    weights, _, _ = prepared(tmp_path, (6, 8), FLOAT16, (1,))
    save_file(
        {"u": np.full((6, 1), 3e3, np.float32), "d": np.full((1, 8), 3e3, np.float32)}, tmp_path / "0.safetensors"
    )
    overflow: list[str] = []
    assert np.isinf(np.frombuffer(b"".join(weights.read("w.weight", overflow) or ()), np.float16)).all()
    assert overflow == ["w.weight"]
    weights, _, _ = prepared(tmp_path, (6, 8), FLOAT16, (1,))
    save_file({"u": np.full((6, 1), np.nan, np.float32), "d": np.ones((1, 8), np.float32)}, tmp_path / "0.safetensors")
    with pytest.raises(SourceError, match="not finite"):
        read(weights, FLOAT16)


@pytest.mark.parametrize(("factor", "scale"), [(1e200, 1.0), (1.0, 1e308), (1e-320, 1.0)])
def test_what_float64_does_not_hold(tmp_path: Path, factor: float, scale: float) -> None:
    """Infinite or no numbers would be in the graph."""
    save_file({"u": np.full((2, 5), factor), "d": np.full((5, 3), max(factor, 1.0))}, tmp_path / "l.safetensors")
    source = LowRank(tmp_path / "l.safetensors", "u", "d", scale)
    with pytest.raises(SourceError, match=r"'u' and 'd' of \S+ come to numbers that float64 does not hold"):
        low_rank.Delta(source, TensorFile(tmp_path / "l.safetensors"))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_bfloat16_is_rounded_once(tmp_path: Path, sign: float) -> None:
    """By way of float32, halfway and a little more would be halfway, and go to the even neighbour below."""
    base, added = np.float32(sign), sign * (2.0**-8 + 2.0**-40)
    save_file({"w.weight": np.full((1, 1), base)}, tmp_path / "m.safetensors")
    save_file({"u": np.full((1, 1), added), "d": np.ones((1, 1))}, tmp_path / "l.safetensors")
    sources = {"w.weight": Tensor(tmp_path / "m.safetensors", "w.weight")}
    lora = {"w.weight": [LowRank(tmp_path / "l.safetensors", "u", "d", 1.0)]}
    weights = StoredWeights(model_of("w.weight", (1, 1), BFLOAT16), {}, sources, lora)
    assert read(weights, BFLOAT16) == sign * (1 + 2.0**-7)


def test_bfloat16_of_every_kind() -> None:
    """As the nearest of all bfloat16 numbers, the even one of two, and infinite from half a step above the largest."""
    random = np.random.default_rng(5)
    patterns = random.integers(0, 2**16, 2000).astype(np.uint32) << 16
    steps = patterns[patterns & 0x7F800000 != 0x7F800000].view(np.float32).astype(np.float64)
    above = np.nextafter(steps.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    values = np.concatenate([steps, above, steps + (above - steps) * 2.0**15, [0.0, -0.0, 1e39, -1e39, 3.4e38, np.inf]])
    values = np.concatenate([values, values * (1 + 2.0**-40), values * (1 - 2.0**-40)])
    got = rounding.rounded(values, BFLOAT16).astype(np.float64)
    for value, one in zip(values, got, strict=True):
        assert one == nearest_bfloat16(Fraction(value)) if np.isfinite(value) else one == value


def nearest_bfloat16(value: Fraction) -> float:
    """In whole numbers, which nothing rounds."""
    if not value:
        return 0.0
    exponent = max(math.frexp(float(abs(value)))[1] - 8, -133)
    whole = round(value / Fraction(2) ** exponent)  # to even
    found = whole * Fraction(2) ** exponent
    return math.copysign(math.inf, value) if abs(found) >= 2**128 else float(found)
