"""Values of single weights: from the graph, from beside it, from a checkpoint; and what was asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.errors import SourceError
from attnfuse.mindir import external, values
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.values import WeightValues
from attnfuse.tracing.contract import StoredWeight
from tests.support.graphs import GraphBuilder, seeded

TABLE = seeded("table", (3, 5), FLOAT16)


def model(*, data: bool = True) -> ModelProto:
    g = GraphBuilder("net", weights=data)
    g.output(g.add(g.parameter("table", TABLE), g.parameter("other", TABLE)))
    return g.build()


def beside(folder: Path) -> tuple[ModelProto, dict[str, Path]]:
    """The weights in a variables file, as MindSpore lays them out."""
    proto = model(data=False)
    size = external.lay_out(proto, "net_variables/data_0")
    path = folder / "data_0"
    content = bytearray(size)
    for parameter in external.parameters(proto):
        at = parameter.external_data
        content[at.offset : at.offset + at.length] = TABLE.tobytes()
    path.write_bytes(content)
    return proto, {"net_variables/data_0": path}


def test_a_value_in_the_graph() -> None:
    held = WeightValues(model())
    for name in ("table", "1_net_construct_1:table"):
        found = held(name)
        assert found is not None
        np.testing.assert_array_equal(found, TABLE)
        assert found.dtype == TABLE.dtype


def test_a_value_beside_the_graph(tmp_path: Path) -> None:
    held = WeightValues(*beside(tmp_path))
    found = held("table")
    assert found is not None
    np.testing.assert_array_equal(found, TABLE)


def test_a_value_of_a_checkpoint_is_what_is_streamed_of_it(tmp_path: Path) -> None:
    """Rounded to the type of the graph, out of range to infinity."""
    stored = TABLE.astype(np.float32) * 1.0001
    stored[0, 0] = -1e30
    path = tmp_path / "model.safetensors"
    save_file({"renamed": stored}, path)
    held = WeightValues(model(data=False), sources={"table": StoredWeight("table", path, "renamed", "float32", (3, 5))})
    found = held("table")
    assert found is not None
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, stored.astype(np.float16))
    assert held("other") is None


@pytest.mark.parametrize("name", ["nobody", ""])
def test_a_weight_that_is_not_there(name: str) -> None:
    assert WeightValues(model())(name) is None


def test_values_that_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto, files = beside(tmp_path)
    assert WeightValues(model(data=False))("table") is None
    assert WeightValues(proto)("table") is None, "a file that is not there"
    files["net_variables/data_0"].write_bytes(b"\x01")
    assert WeightValues(proto, files)("table") is None, "a file that is too short"
    monkeypatch.setattr(values, "MAX_BYTES", TABLE.nbytes - 1)
    assert WeightValues(model())("table") is None
    monkeypatch.setattr(values, "MAX_BYTES", TABLE.nbytes)
    assert WeightValues(model())("table") is not None


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    proto, files = beside(tmp_path)
    files["net_variables/data_0"].unlink()
    with pytest.raises(SourceError, match=r"data_0 cannot be read"):
        WeightValues(proto, files)("table")


def test_what_was_asked_for_is_told_with_its_digest() -> None:
    held = WeightValues(model())
    assert not held.asked
    held("1_net_construct_1:table")
    held("nobody")
    digest = hashlib.sha256(TABLE.tobytes()).hexdigest()
    assert held.asked == (("nobody", ""), ("table", digest))
    assert WeightValues(model()).digest("table") == digest
    assert WeightValues(model(data=False)).digest("table") == ""
