"""`tools/make_checkpoint.py` writes folders that plan as pipelines."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from attnfuse.tracing.checkpoint import find_files, read_tensors
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.plan import plan_pipeline
from tools import make_checkpoint


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["make_checkpoint.py", *arguments])
    return make_checkpoint.main()


@pytest.mark.parametrize(
    ("model", "attribute", "inputs"),
    [
        ("sd15", "unet", [(2, 4, 64, 64), (1,), (2, 77, 768)]),
        ("sdxl", "unet", [(2, 4, 128, 128), (1,), (2, 77, 2048), (2, 1280), (2, 6)]),
        ("sd3", "transformer", [(2, 16, 128, 128), (2, 154, 4096), (2, 2048), (2,)]),
        ("flux", "transformer", [(1, 4096, 64), (1, 512, 4096), (1, 768), (1,), (4096, 3), (512, 3), (1,)]),
    ],
)
def test_folder_plans_as_a_pipeline_with_a_denoiser_only(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    attribute: str,
    inputs: list[tuple[int, ...]],
) -> None:
    # The true configuration, but a token of its weights: 860 M random numbers take half a minute.
    few = replace(make_checkpoint.MODELS[model], tensors=lambda _: iter([("conv_in.weight", (320, 4, 3, 3))]))
    monkeypatch.setitem(make_checkpoint.MODELS, model, few)
    folder = tmp_path / "new" / "folder"
    assert run(monkeypatch, str(folder), "--model", model, "--dtype", "bfloat16") == 0
    assert capsys.readouterr().out == f"{folder}: {model} {attribute}, 11,520 parameters, bfloat16\n"
    (plan,) = plan_pipeline(folder, "float16", ShapeOptions())
    assert [spec.shape for spec in plan.inputs] == inputs
    (tensor,) = read_tensors(find_files(plan.folder, plan.library)).values()
    assert tensor.dtype == "bfloat16"


def test_zeros_take_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "flux"
    assert run(monkeypatch, str(folder), "--model", "flux", "--zeros") == 0
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    found = read_tensors((weights,))
    assert sum(tensor.size for tensor in found.values()) == 11_901_408_320
    assert weights.stat().st_size > 2 * 11_901_408_320
    assert weights.stat().st_blocks * 512 < 2**20
    with safe_open(weights, framework="numpy") as file:
        assert not file.get_tensor("proj_out.bias").any()


@pytest.mark.parametrize(
    ("model", "components"),
    [
        ("sd15", ["unet", "vae_decoder", "vae_encoder", "text_encoder"]),
        ("sdxl", ["unet", "vae_decoder", "vae_encoder", "text_encoder", "text_encoder_2"]),
    ],
)
def test_a_whole_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, components: list[str]) -> None:
    folder = tmp_path / model
    assert run(monkeypatch, str(folder), "--model", model, "--zeros", "--whole") == 0
    plans = plan_pipeline(folder, "float16", ShapeOptions())
    assert [plan.name for plan in plans] == components
    stored = {plan.model: read_tensors(find_files(plan.folder, plan.library)) for plan in plans}
    published = {"vae": 83_653_863, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840}
    sizes = {name: sum(tensor.size for tensor in tensors.values()) for name, tensors in stored.items()}
    assert sizes.items() <= {**published, "unet": sizes["unet"]}.items()


def test_what_has_nothing_beside_it_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, str(tmp_path / "flux"), "--model", "flux", "--whole")
    assert not (tmp_path / "flux").exists()


def test_a_folder_that_is_there_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "unet").mkdir()
    assert run(monkeypatch, str(tmp_path)) == 2
    assert capsys.readouterr().err == f"{tmp_path}: File exists\n"
    assert list((tmp_path / "unet").iterdir()) == []
