"""Weights: mapped from where they lie, taken from the other file, or drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnfuse.errors import SourceError
from attnfuse.mindir.dtypes import BFLOAT16, DType
from attnfuse.mindir.schema import ModelProto, TensorProto
from attnfuse.verify.numbers.weights import by_name, drawn_weights, first_of, stored_weights
from tests.support.graphs import GraphBuilder, fill_tensor, seeded, transformer


def parameter(name: str, *dims: int, dtype: DType = BFLOAT16) -> TensorProto:
    proto = TensorProto(name=f"g:{name}", data_type=dtype.wire)
    proto.dims.extend(dims)
    return proto


def external(folder: Path) -> ModelProto:
    """One weight of bfloat16, beside the graph."""
    g = GraphBuilder("g")
    g.output(g.parameter("w", seeded("w", (3, 5), BFLOAT16)))
    proto = g.build()
    weight = proto.graph.parameter[0]
    (folder / "g_variables").mkdir()
    (folder / "g_variables" / "data_0").write_bytes(bytes(64) + weight.raw_data)
    weight.ClearField("raw_data")
    weight.external_data.location = "g_variables/data_0"
    weight.external_data.offset = 64
    weight.external_data.length = 30
    return proto


def test_embedded() -> None:
    proto = transformer(sites=1).build()
    read = stored_weights(proto, Path("/none/x.mindir"))
    weight = proto.graph.parameter[0]
    value = read(weight)
    assert value is not None
    assert value.tobytes() == weight.raw_data
    assert value.shape == tuple(weight.dims)


def test_beside_the_graph_without_a_copy(tmp_path: Path) -> None:
    proto = external(tmp_path)
    value = stored_weights(proto, tmp_path / "g.mindir")(proto.graph.parameter[0])
    assert value is not None
    np.testing.assert_array_equal(value, seeded("w", (3, 5), BFLOAT16))
    assert not value.flags.owndata
    assert not value.flags.writeable


def test_a_place_outside_the_folder_is_refused(tmp_path: Path) -> None:
    proto = external(tmp_path)
    proto.graph.parameter[0].external_data.location = "../elsewhere"
    with pytest.raises(SourceError, match="not a path below"):
        stored_weights(proto, tmp_path / "g.mindir")


def test_the_first_that_has_a_value() -> None:
    full = transformer(sites=1).build()
    empty = transformer(sites=1, weights=False).build()
    read = [stored_weights(p, Path("/none/x.mindir")) for p in (full, empty)]
    weight = empty.graph.parameter[0]
    assert read[1](weight) is None
    named = {p.name.partition(":")[2]: p for p in full.graph.parameter}
    both = first_of(read[1], by_name(read[0], named))
    value = both(weight)
    assert value is not None
    assert value.tobytes() == full.graph.parameter[0].raw_data
    weight.name = "other:unheard_of"
    assert both(weight) is None
    assert first_of(both, drawn_weights(0))(weight) is not None


def test_drawn_weights_keep_activations_in_size() -> None:
    draw = drawn_weights(0)
    matrix = draw(parameter("a.to_q.weight", 512, 256))
    assert matrix is not None
    assert matrix.dtype == BFLOAT16.numpy
    assert float(matrix.astype(np.float32).std()) == pytest.approx(256**-0.5, rel=0.05)
    gain, offset = draw(parameter("norm.weight", 256)), draw(parameter("norm.bias", 256))
    assert gain is not None
    assert offset is not None
    assert float(gain.astype(np.float32).mean()) == pytest.approx(1, abs=0.05)
    assert float(offset.astype(np.float32).mean()) == pytest.approx(0, abs=0.05)


def test_drawn_weights_depend_on_name_and_seed_not_on_the_graph() -> None:
    first = drawn_weights(0)(parameter("w", 8))
    renamed = TensorProto()
    renamed.CopyFrom(parameter("w", 8))
    renamed.name = "another_graph:w"
    assert first is not None
    assert first.tobytes() == value(0, renamed)
    assert first.tobytes() != value(1, parameter("w", 8))
    assert first.tobytes() != value(0, parameter("v", 8))


def value(seed: int, proto: TensorProto) -> bytes:
    drawn = drawn_weights(seed)(proto)
    assert drawn is not None
    return drawn.tobytes()


def test_an_array_as_the_builder_writes_it_reads_back() -> None:
    proto = TensorProto(name="g:w")
    fill_tensor(proto, np.arange(6, dtype=np.float16).reshape(2, 3))
    model = ModelProto()
    model.graph.parameter.append(proto)
    value = stored_weights(model, Path("/none/x.mindir"))(proto)
    np.testing.assert_array_equal(value, [[0, 1, 2], [3, 4, 5]])  # type: ignore[arg-type]
