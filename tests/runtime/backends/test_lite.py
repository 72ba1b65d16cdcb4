"""MindSpore Lite is fed by name, in the types that it reports; held to a stand-in with the signatures of 2.7."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse_runtime.backends import LiteBackend
from attnfuse_runtime.errors import BackendError
from attnfuse_runtime.pipeline import Pipeline
from tests.support import lite_2_7
from tests.support.compiled import toy

GIVEN: dict[str, Any] = {"sample": np.ones((2, 4)), "timestep": np.asarray([7])}


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "mindspore_lite", lite_2_7)
    # In another order than the manifest's, and int64 as Lite has it.
    monkeypatch.setattr(lite_2_7, "inputs", [("timestep", (1,), "int32"), ("1_toy:sample", (2, 4), "float16")])
    monkeypatch.setattr(
        lite_2_7, "computed", lambda values: [values["1_toy:sample"] * 2, values["timestep"] + values["timestep"]]
    )
    monkeypatch.setattr(lite_2_7, "made", [])
    return lite_2_7


def test_fed_by_name_and_in_its_types(lite: Any, tmp_path: Path) -> None:
    out = toy(tmp_path)
    pipeline = Pipeline.from_folder(out, "lite", devices={"toy": 3})
    assert not lite.made  # nothing is loaded before it is asked for
    first = pipeline["toy"](**GIVEN)
    second = pipeline["toy"](**{**GIVEN, "sample": GIVEN["sample"] * 5})
    (model,) = lite.made
    assert model.config_path == str(out / "configs/toy.cfg")
    assert (model.context.target, model.context.ascend.device_id) == (["ascend"], 3)
    assert model.context.ascend.precision_mode is None  # the configuration says it
    sample, total = first.values()
    np.testing.assert_array_equal(sample, np.full((2, 4), 2, np.float16))  # not what the second run wrote
    assert (next(iter(second.values()))[0, 0], total.tolist(), total.dtype) == (10, [14], np.dtype("int32"))
    pipeline.release("toy")
    pipeline["toy"]
    assert len(lite.made) == 2


def test_a_converted_file_and_a_device_for_all(lite: Any, tmp_path: Path) -> None:
    out = toy(tmp_path)
    converted = tmp_path / "toy_converted.mindir"
    backend = LiteBackend(1, files={"toy": converted})
    with pytest.raises(BackendError, match=r"does not build toy of .*toy_converted\.mindir: build_from_file failed"):
        Pipeline.from_folder(out, backend)["toy"]
    converted.touch()
    Pipeline.from_folder(out, backend)["toy"](**GIVEN)
    assert lite.made[-1].context.ascend.device_id == 1


def test_open_sizes_are_bound(lite: Any, tmp_path: Path) -> None:
    pipeline = Pipeline.from_folder(toy(tmp_path))
    lite.inputs[1] = ("sample", (-1, 4), "float16")
    lite.computed = lambda values: [values["sample"], values["timestep"]]
    pipeline["toy"](**GIVEN)
    assert lite.made[-1].resized == [[1], [2, 4]]


@pytest.mark.parametrize(
    ("reported", "said"),
    [
        ([("timestep", (1,), "int32")], "MindSpore Lite has timestep for inputs of toy"),
        ([("timestep", (1,), "int32"), ("sample", (2, 4), "bfloat16")], "takes toy's input sample as BFLOAT16"),
    ],
)
def test_inputs_that_are_not_the_graphs(lite: Any, tmp_path: Path, reported: Any, said: str) -> None:
    lite.inputs = reported
    with pytest.raises(BackendError, match=said):
        Pipeline.from_folder(toy(tmp_path))["toy"](**GIVEN)


def test_a_run_that_fails_is_told(lite: Any, tmp_path: Path) -> None:
    def fail(values: Any) -> Any:
        raise RuntimeError("predict failed! Error is 507011")

    lite.computed = fail
    with pytest.raises(BackendError, match="MindSpore Lite cannot run toy: predict failed! Error is 507011"):
        Pipeline.from_folder(toy(tmp_path))["toy"](**GIVEN)


def test_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mindspore_lite", None)
    with pytest.raises(BackendError, match="needs mindspore_lite"):
        Pipeline.from_folder(toy(tmp_path))["toy"]


def test_several_sizes_share_weights(lite: Any, tmp_path: Path) -> None:
    out = toy(tmp_path)
    manifest = json.loads((out / "manifest.json").read_bytes())
    (first,) = manifest["components"]
    manifest["components"].append({**first, "name": "toy_wide", "base": "toy"})
    (out / "manifest.json").write_text(json.dumps(manifest))
    pipeline = Pipeline.from_folder(out, LiteBackend({"toy": 2}, shares_weights=True))
    pipeline["toy_wide"](**GIVEN)
    pipeline["toy"](**GIVEN)
    first_built, second_built = sorted(lite.made, key=lambda model: model.context.ascend.device_id or 0)
    assert first_built.group is second_built.group
    assert first_built.group.flags is lite.ModelGroupFlag.SHARE_WEIGHT
    assert {model.context.ascend.device_id for model in lite.made} == {2}  # that of the first size
    assert {model.context.ascend.provider for model in lite.made} == {"ge"}
    alone = Pipeline.from_folder(out, LiteBackend())
    alone["toy"](**GIVEN)
    assert (lite.made[-1].group, lite.made[-1].context.ascend.provider) == (None, "")
