"""Weights on their way to the file beside a result: at their places, in the graph's type, edited, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.errors import InternalError, SourceError
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse.mindir.edits import Cut, Pad, WeightEdits
from attnfuse.mindir.external import end_of, lay_out, parameter_name, parameters
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.mindir.streaming import variables
from attnfuse.mindir.taken import Taken
from attnfuse.mindir.tensorfile import CHUNK_BYTES
from tests.support.graphs import seeded, transformer


@dataclass(frozen=True)
class Tensor:
    file: Path
    key: str
    taken: Taken | None = None


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_weights_are_streamed_to_where_the_graph_looks_for_them(tmp_path: Path, dtype: DType) -> None:
    builder = transformer(weights=False, dtype=dtype)
    builder.weight("between", (3, 5), dtype)  # 30 bytes: what follows is moved to a multiple of 64
    model = builder.build()
    checkpoint = tmp_path / "model.safetensors"
    tensors = {f"old.{parameter_name(p)}": seeded(parameter_name(p), p.dims) for p in parameters(model)}
    save_file(tensors, checkpoint)
    sources = {parameter_name(p): Tensor(checkpoint, f"old.{parameter_name(p)}") for p in parameters(model)}
    size = lay_out(model, "unet_variables/data_0")
    data = b"".join(variables(model, StoredWeights(model, sources=sources), "unet_variables/data_0", []))
    assert len(data) == size
    assert data[:64] == b"\x01" + bytes(63)
    for parameter in parameters(model):
        where = parameter.external_data
        assert where.offset % 64 == 0
        value = np.frombuffer(data[where.offset : where.offset + where.length], dtype.numpy)
        expected = tensors[f"old.{parameter_name(parameter)}"].astype(dtype.numpy)
        np.testing.assert_array_equal(value, expected.ravel())


def test_a_parameter_without_a_weight_is_named(tmp_path: Path) -> None:
    model = transformer(weights=False).build()
    lay_out(model, "v/data_0")
    with pytest.raises(SourceError, match=r"parameter 'blocks\.0\.attn1\.to_k\.weight' has no weight"):
        list(variables(model, StoredWeights(model), "v/data_0", []))


def test_a_weight_of_another_size_is_named(tmp_path: Path) -> None:
    model = transformer(weights=False).build()
    lay_out(model, "v/data_0")
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "m.safetensors")
    sources = {parameter_name(p): Tensor(tmp_path / "m.safetensors", "w") for p in parameters(model)}
    with pytest.raises(
        SourceError, match=r"has shape \[3\]; parameter 'blocks\.0\.attn1\.to_k\.weight' has \[64, 64\]"
    ):
        list(variables(model, StoredWeights(model, sources=sources), "v/data_0", []))


def test_a_plan_that_does_not_fit_is_a_defect(tmp_path: Path) -> None:
    model = transformer(weights=False).build()
    lay_out(model, "v/data_0")
    names = sorted(map(parameter_name, parameters(model)))
    zeros = {parameter_name(p): np.zeros(tuple(p.dims), np.float32) for p in parameters(model)}
    save_file(zeros, tmp_path / "m.safetensors")
    next(p for p in parameters(model) if parameter_name(p) == names[1]).external_data.offset += 64
    sources = {n: Tensor(tmp_path / "m.safetensors", n) for n in names}
    with pytest.raises(InternalError, match="is at"):
        list(variables(model, StoredWeights(model, sources=sources), "v/data_0", []))


def edited_model(tmp_path: Path, edits: WeightEdits, dims: tuple[int, ...]) -> tuple[ModelProto, StoredWeights]:
    """A source of one float16 weight in a checkpoint of float32, and the graph that has it edited."""
    save_file({"w": seeded("w", dims)}, tmp_path / "m.safetensors")
    source, made = ModelProto(), ModelProto()
    source.graph.parameter.add(name="g:w", data_type=FLOAT16.wire).dims.extend(dims)
    dtype = FLOAT16 if edits.dtype is None else edits.dtype
    made.graph.parameter.add(name=f"g:{edits.name('w')}", data_type=dtype.wire).dims.extend(edits.dims(dims))
    lay_out(made, "v/data_0")
    return made, StoredWeights(source, sources={"w": Tensor(tmp_path / "m.safetensors", "w")})


def test_an_edited_weight_is_written_with_its_zeros(tmp_path: Path) -> None:
    edits = WeightEdits(FLOAT32, (Pad(0, 2, 1),), (Cut(1, 2, 5),))
    model, weights = edited_model(tmp_path, edits, (4, 6))
    data = b"".join(variables(model, weights, "v/data_0", []))
    assert len(data) == end_of(model, "v/data_0")
    own = seeded("w", (4, 6)).astype(np.float16).astype(np.float32)[:, 2:5]
    zero = np.zeros((1, 3), np.float32)
    expected = np.concatenate([own[:2], zero, own[2:], zero])
    np.testing.assert_array_equal(np.frombuffer(data[64 : 64 + 72], np.float32).reshape(6, 3), expected)


@pytest.mark.parametrize("edits", [WeightEdits(pads=(Pad(0, 8, 3),)), WeightEdits(pads=(Pad(1, 64, 1),))], ids=str)
def test_a_large_weight_is_edited_a_few_rows_at_a_time(tmp_path: Path, edits: WeightEdits) -> None:
    model, weights = edited_model(tmp_path, edits, (1024, 2048))
    asked: list[int] = []

    class Watched(StoredWeights):
        def read(self, name, overflow, first=0, last=None):  # type: ignore[no-untyped-def]
            asked.append(2 * (last - first))
            return weights.read(name, overflow, first, last)

    watched = Watched(ModelProto())
    watched.parameters = weights.parameters
    chunks = [len(chunk) for chunk in variables(model, watched, "v/data_0", [])]
    assert sum(chunks) == end_of(model, "v/data_0") > 2 * CHUNK_BYTES
    assert max(*chunks, *asked) <= CHUNK_BYTES
    assert sum(asked) == 2 * 1024 * 2048


def test_a_value_that_is_cut_short_is_told(tmp_path: Path) -> None:
    source = ModelProto()
    source.graph.parameter.add(name="g:w", data_type=FLOAT16.wire, dims=[4])
    lay_out(source, "v/data_0")
    (tmp_path / "data_0").write_bytes(bytes(64 + 6))
    with pytest.raises(SourceError, match="'w' takes 8 bytes, and 6 are held"):
        list(variables(source, StoredWeights(source, {"v/data_0": tmp_path / "data_0"}), "v/data_0", []))
