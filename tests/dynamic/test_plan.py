"""What is planned for any batch, and how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.errors import UsageError
from attnfuse.report.parts import parts_document, render_parts
from attnfuse.serialisation import to_json
from attnfuse.tracing.contract import DYNAMIC_BATCHES, ShapeOptions, TensorSpec, open_spec
from attnfuse.tracing.inputs import GivenCall
from attnfuse.tracing.plan import plan_all, survey
from tests.support.small_models import SMALL, write_configs

ANY = ShapeOptions(dynamic="batch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_configs(tmp_path_factory.mktemp("small") / "sd3", SMALL["sd3"])


def test_a_plan_and_its_twins_are_those_of_the_batches(folder: Path) -> None:
    several = [plan_all(folder, "float16", ShapeOptions(batch=batch)).plans for batch in DYNAMIC_BATCHES]
    for plan, *same in zip(plan_all(folder, "float16", ANY).plans, *several, strict=True):
        assert [to_json(plan), *(to_json(twin) for twin in plan.twins)] == [to_json(one) for one in same]


def test_only_the_rows_are_open(folder: Path) -> None:
    for part in survey(folder, "float16", ANY):
        for plan in part.plans:
            for spec in plan.open_inputs:
                assert spec.shape[0] == -1, spec
                assert -1 not in spec.shape[1:], spec


def test_an_input_without_rows_stays_as_it_is() -> None:
    assert open_spec([TensorSpec("t", (1, 4), "int64")] * 3) == TensorSpec("t", (1, 4), "int64")
    specs = [TensorSpec("x", (2 * batch, 4), "float16") for batch in DYNAMIC_BATCHES]
    assert open_spec(specs) == TensorSpec("x", (-1, 4), "float16")


def test_components_tells_it(folder: Path) -> None:
    parts = survey(folder, "float16", ANY)
    assert "hidden_states: float16 [any, 4, " in render_parts(parts)
    transformer = next(part for part in parts_document(parts)["parts"] if part["name"] == "transformer")
    assert transformer["components"][0]["inputs"][0]["shape"][:2] == [-1, 4]


def test_one_batch_and_any_exclude_each_other(folder: Path) -> None:
    with pytest.raises(UsageError, match="--batch 2 is one batch, and --dynamic batch is for any; drop one"):
        survey(folder, "float16", ShapeOptions(batch=2, dynamic="batch"))


def test_given_inputs_are_of_fixed_shapes(folder: Path) -> None:
    given = [GivenCall("picture", "vae", "decode", (), {}, (("image", ""),))]
    with pytest.raises(UsageError, match="--inputs gives is of fixed shapes"):
        survey(folder, "float16", ANY, given)
