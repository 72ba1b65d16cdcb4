"""`align.py` holds what runs the graphs to the unfused graphs' numbers: the stand-in of Lite, and the cpu backend."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse import compiler
from attnfuse.ir.types import Array
from attnfuse.pictures import align
from attnfuse_runtime.backends import CpuBackend
from attnfuse_runtime.manifest import read_manifest
from tests.support import lite_2_7, painter
from tests.support.painter import Painted, spoil
from tests.support.tracer import stand_in


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, painted_once: Painted) -> Path:
    out = tmp_path_factory.mktemp("golden") / "out"
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, painter.trace)
        compiler.compile(compiler.CompileRequest(source=str(painted_once.source), output=out, golden=True))
    return out


@pytest.fixture
def out(once: Path, tmp_path: Path) -> Path:
    shutil.copytree(once, tmp_path / "out")
    return tmp_path / "out"


Damage = Callable[[str, Sequence[Array]], Sequence[Array]]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[Damage], None]:
    """A device that computes what the graphs mean, but for some damage; int64 is int32 there."""

    def install(damage: Damage) -> None:
        class Model(lite_2_7.Model):
            def build_from_file(self, model_path: Any, *rest: Any, **options: Any) -> None:
                super().build_from_file(model_path, *rest, **options)
                components = read_manifest(Path(model_path).parent).components.values()
                (self.component,) = (one for one in components if str(one.graph) == model_path)
                self.run = CpuBackend().load(self.component)
                taken = self.component.inputs
                self._inputs = [
                    lite_2_7.Tensor(one.name, one.shape, one.dtype.replace("int64", "int32")) for one in taken
                ]

            def predict(self, inputs: Any, outputs: Any = None) -> list[lite_2_7.Tensor]:
                values = damage(self.component.name, self.run({one.name: one.get_data_to_numpy() for one in inputs}))
                results = [lite_2_7.Tensor("out", one.shape, one.dtype.name) for one in values]
                for tensor, one in zip(results, values, strict=True):
                    tensor.set_data_from_numpy(one)
                return results

        monkeypatch.setattr(lite_2_7, "Model", Model)
        monkeypatch.setitem(sys.modules, "mindspore_lite", lite_2_7)

    return install


def test_a_device_that_computes_the_same(
    out: Path, device: Callable[[Damage], None], capsys: pytest.CaptureFixture[str]
) -> None:
    device(lambda name, values: values)
    assert align.main(["--folder", str(out), "--json", str(out.parent / "found.json")]) == 0
    told = capsys.readouterr()
    assert told.err == "all 8 outputs are within their limits.\n"
    assert len(told.out.splitlines()) == 8
    found = json.loads((out.parent / "found.json").read_bytes())
    (picture,) = (one for one in found if one["component"] == "vae_decoder")
    assert (picture["psnr_db"], picture["findings"]) == ("inf", [])
    assert [one["max_abs"] > 0 for one in found if one["component"] == "unet"] == [True] * 3


@pytest.mark.parametrize(
    ("component", "factor", "said"),
    [
        ("unet", 1.05, "DIFFERS: largest difference"),  # which no cosine tells
        ("unet", -1.0, "DIFFERS: cosine -0.99"),
        ("vae_decoder", 0.5, "DIFFERS: PSNR"),
        ("text_encoder", float("nan"), "DIFFERS: cannot be compared"),
    ],
)
def test_a_device_that_does_not(
    out: Path,
    device: Callable[[Damage], None],
    capsys: pytest.CaptureFixture[str],
    component: str,
    factor: float,
    said: str,
) -> None:
    device(lambda name, values: [np.multiply(one, np.float16(factor if name == component else 1)) for one in values])
    assert align.main(["--folder", str(out), "--device", "1"]) == 4
    told = capsys.readouterr()
    wrong = [line for line in told.out.splitlines() if "DIFFERS" in line]
    assert any(said in line for line in wrong)
    assert all(line.startswith(component) for line in wrong)
    assert "do not hold" in told.err
    assert align.main(["--folder", str(out), "--component", "vae_encoder"]) == 3
    others = [name for name in ("unet", "vae_decoder", "text_encoder") if name != component]
    assert align.main(["--folder", str(out), *(word for name in others for word in ("--component", name))]) == 0


def test_a_planted_fault_and_limits_of_ones_own(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(out / "unet_variables" / "data_0", slice(-256, None), 1.05)
    given = ["--folder", str(out), "--backend", "cpu", "--component", "unet"]
    assert align.main(given) == 4
    assert align.main([*given, "--max-abs", "9", "--cosine", "0.99"]) == 0
    assert align.main([*given, "--max-abs", "9", "--cosine", "0.9999999"]) == 4
    given[-1] = "vae_decoder"
    assert align.main(given) == 0
    capsys.readouterr()
    spoil(out / "vae_decoder_variables" / "data_0", slice(None), 1.01)
    assert align.main([*given, "--max-abs", "1", "--cosine", "0", "--psnr", "99"]) == 4
    assert "at least 99.0 dB" in capsys.readouterr().out


def test_what_cannot_be_read_or_run(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*given: str) -> str:
        assert align.main(["--folder", str(out), *given]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        return line

    monkeypatch.setitem(sys.modules, "mindspore_lite", None)
    assert "the backend 'lite' needs mindspore_lite" in told()
    assert "there is no component 'none'" not in told("--graph", "unet=none.mindir")
    data = (out / "golden" / "text_encoder_0.npz").read_bytes()
    (out / "golden" / "text_encoder_0.npz").write_bytes(data[:-1] + b"x")
    assert "text_encoder_0.npz is not what was written" in told("--backend", "cpu")
    (out / "golden" / "golden.json").unlink()
    assert "No such file" in told("--backend", "cpu")
    monkeypatch.setitem(sys.modules, "attnfuse_runtime", None)
    assert "needs attnfuse-runtime, not installed here" in told()


def test_it_is_of_a_python_that_hosts_have() -> None:
    ast.parse(Path(align.__file__).read_text(encoding="utf-8"), feature_version=(3, 9))
