"""`tools/make_checkpoint.py` writes folders that plan as pipelines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from attnfuse.tracing.checkpoint import find_files, read_tensors
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.plan import plan_pipeline
from tools import make_checkpoint


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["make_checkpoint.py", *arguments])
    return make_checkpoint.main()


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("sd15", [(2, 4, 64, 64), (1,), (2, 77, 768)]),
        ("sdxl", [(2, 4, 128, 128), (1,), (2, 77, 2048), (2, 1280), (2, 6)]),
    ],
)
def test_folder_plans_as_a_pipeline_with_a_unet_only(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    inputs: list[tuple[int, ...]],
) -> None:
    # The true configuration, but a token of its weights: 860 M random numbers take half a minute.
    monkeypatch.setattr(make_checkpoint, "unet_tensors", lambda _: [("conv_in.weight", (320, 4, 3, 3))])
    folder = tmp_path / "new" / "folder"
    assert run(monkeypatch, str(folder), "--model", model, "--dtype", "bfloat16") == 0
    assert capsys.readouterr().out == f"{folder}: {model} UNet, 11,520 parameters, bfloat16\n"
    (plan,) = plan_pipeline(folder, "float16", ShapeOptions())
    assert [spec.shape for spec in plan.inputs] == inputs
    (tensor,) = read_tensors(find_files(plan.folder, plan.library)).values()
    assert tensor.dtype == "bfloat16"


def test_a_folder_that_is_there_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "unet").mkdir()
    assert run(monkeypatch, str(tmp_path)) == 2
    assert capsys.readouterr().err == f"{tmp_path}: File exists\n"
    assert list((tmp_path / "unet").iterdir()) == []
