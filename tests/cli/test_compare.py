"""`attnfuse compare`: compiled graphs held to those of their source, picture by picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnfuse.cli.compare import _shapes as shapes
from attnfuse.output_verification import read_written
from attnfuse.report.model import ManifestInput
from attnfuse.tracing import source as tracing_source
from attnfuse.tracing.contract import ShapeOptions, SizeFacts
from tests.support.console import inside, logged
from tests.support.lora_files import peft, write
from tests.support.painter import SIZE, Painted, spoil


def test_what_is_compared_and_written(painted: Painted, tmp_path: Path) -> None:
    place = tmp_path / "compared"
    log = ("--log-file", tmp_path / "compare.log")
    done = inside("compare", painted.out, "--against", painted.source, "--steps", "3", "-o", place, "--json", *log)
    assert done.returncode == 0, done.stderr
    lines = logged(tmp_path / "compare.log")
    assert {"float64: step 4 of 4", "unfused: step 1 of 4"} <= {*lines}
    for wanted in ("versions:", "unet: tracing ", "compiled: unet ", "unet.sample, 4: relative error ", "took "):
        assert any(line.startswith(wanted) for line in lines), wanted
    document = json.loads(done.stdout)
    assert document == json.loads((place / "comparison.json").read_bytes())
    assert (document["passed"], document["findings"], document["notes"]) == (True, [], [])
    assert [one["number"] for one in document["steps"]] == [0, 1, 2, 3]
    assert {one["what"]: one["number"] for one in document["stages"]} == {
        "text_encoder.last_hidden_state": 1,
        "text_encoder.pooler_output": 1,
        "unet.sample": 3,
        "vae_decoder.image": 0,
    }
    for one in [*document["steps"], *document["stages"]]:
        assert one["fused"] <= one["limit"]
        assert one["limit"] == max(2 * one["own"], 2**-11)  # of float16
    # The attention is fused, and computes the same in another order.
    assert all(one["relative"] > 0 for one in document["steps"])
    (picture,) = document["pictures"]
    assert picture["psnr_db"] > 40
    assert picture["ssim"] > 0.99
    pictures = [np.asarray(Image.open(place / f"{name}.png")) for name in ("picture", "unfused", "side_by_side")]
    assert pictures[2].shape == (SIZE, 3 * SIZE, 3)
    np.testing.assert_array_equal(pictures[2][:, : 2 * SIZE], np.concatenate(pictures[:2], axis=1))
    assert pictures[2][:, 2 * SIZE :].max() == 255
    assert "not verified: no graph was run on a device" in done.stderr
    assert sorted(path.name for path in place.iterdir()) == [
        "comparison.json",
        "picture.png",
        "side_by_side.png",
        "unfused.png",
    ]


def test_a_fault_in_what_was_compiled_is_found(painted: Painted, tmp_path: Path) -> None:
    spoil(painted.out / "unet_variables" / "data_0", slice(-256, None), 1.05)
    done = inside("compare", painted.out, "--against", painted.source, "--steps", "1", "-o", tmp_path / "compared")
    assert done.returncode == 4
    findings = [line for line in done.stderr.splitlines() if line.startswith("DIFFERS: ")]
    assert any(line.startswith("DIFFERS: latents of step 1: relative error") for line in findings)
    assert "DIFFERS: unet_variables/data_0: it is not what attnfuse wrote there" in findings
    assert not any("text_encoder" in line for line in findings)
    assert json.loads((tmp_path / "compared" / "comparison.json").read_bytes())["passed"] is False


def test_figures_that_cannot_be_had_are_findings(painted: Painted) -> None:
    spoil(painted.out / "unet_variables" / "data_0", slice(None), float("nan"))
    done = inside("compare", painted.out, "--against", painted.source, "--steps", "1")
    assert done.returncode == 4
    assert "numbers of the result are not finite" in done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--max-error", "1e-9"], "and at most 1.00e-09 was asked for"),
        (["--min-psnr", "99"], "PSNR"),
        (["--min-ssim", "1"], "SSIM"),
        (["--within", "0.01"], "relative error"),
    ],
)
def test_thresholds_that_do_not_hold(painted: Painted, given: list[str], said: str) -> None:
    options = ["--no-reference"] if "--within" not in given else []
    done = inside("compare", painted.out, "--against", painted.source, "--steps", "1", *options, *given)
    assert done.returncode == 4
    assert any(said in line for line in done.stderr.splitlines() if line.startswith("DIFFERS: ")), done.stderr


def test_what_is_refused(painted: Painted, tmp_path: Path) -> None:
    cases: list[tuple[list[str | Path], int, str]] = [
        ([], 2, "does not say where its pipeline lies; name it: --against SOURCE"),
        (["--against", tmp_path / "none"], 3, "does not exist"),
        (["--against", painted.source, "--no-reference"], 2, "leaves nothing that could fail"),
        (["--against", painted.source, "-o", painted.source / "in"], 2, "would lie in or over"),
        (["--against", painted.source, "-o", painted.out], 2, "would lie in or over"),
        (["--against", painted.out / "unet_graph.mindir"], 2, "is a traced graph"),
    ]
    for given, code, said in cases:
        done = inside("compare", painted.out, "--steps", "1", "--progress", "never", *given)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1


def test_the_manifest_tells_how_it_was_traced(painted: Painted) -> None:
    """Sizes, guidance and timesteps; and a denoiser for two chunks of the text encoder's length."""
    written = read_written(painted.out)
    whole: dict[str, Any] = {"height": SIZE, "width": SIZE, "batch": 1, "guidance": True, "timestep_dtype": "int64"}
    whole["dtypes"] = tuple((component.name, "float16") for component in written.manifest.components)
    assert shapes(written, ShapeOptions()) == ShapeOptions(**whole)
    assert shapes(written, ShapeOptions(height=64, guidance=False)) == ShapeOptions(
        **{**whole, "height": 64, "guidance": False}
    )
    # Where a type is given, others are what that leaves them.
    assert shapes(written, ShapeOptions(), "auto").dtypes == ()
    assert shapes(written, ShapeOptions(dtypes=(("unet", "float32"),))).dtypes == (("unet", "float32"),)
    # Of several sizes, the types of the first: others are traced with it.
    (unet,) = (component for component in written.manifest.components if component.name == "unet")
    several = (*written.manifest.components, unet.model_copy(update={"name": "unet_64x64"}))
    pipeline = written.manifest.pipeline
    assert pipeline is not None
    sizes = (SizeFacts("64x64", 64, 64, None, 1, {"unet": "unet_64x64"}),)
    update = {"components": several, "pipeline": pipeline.model_copy(update={"sizes": sizes})}
    sized = replace(written, manifest=written.manifest.model_copy(update=update))
    assert shapes(sized, ShapeOptions()).dtypes == whole["dtypes"]
    longer = []
    for component in written.manifest.components:
        inputs = [
            replace_shape(one, (2, 154, 64)) if one.name == "encoder_hidden_states" else one for one in component.inputs
        ]
        longer.append(component.model_copy(update={"inputs": tuple(inputs)}))
    found = replace(written, manifest=written.manifest.model_copy(update={"components": tuple(longer)}))
    assert shapes(found, ShapeOptions()).sequence_lengths == (("unet", 154),)


def replace_shape(one: ManifestInput, shape: tuple[int, ...]) -> ManifestInput:
    return one.model_copy(update={"shape": shape})


def test_the_source_of_the_manifest_must_be_the_same(painted: Painted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a demo or a hub id is recorded."""
    path = painted.out / "manifest.json"
    document = json.loads(path.read_bytes())
    document["pipeline"]["source"] = "demo:painted"
    path.write_text(json.dumps(document))
    monkeypatch.setattr(tracing_source, "resolve", lambda source, **options: painted.source)
    given = ("compare", painted.out, "--steps", "1", "--progress", "never")
    assert inside(*given).returncode == 0
    spoil(painted.source / "unet" / "diffusion_pytorch_model.safetensors", slice(-4, None), 1.5)
    done = inside(*given)
    assert done.returncode == 2
    assert "is not what unet was compiled from; name the source that it was" in done.stderr


def test_another_source_is_told(painted: Painted) -> None:
    spoil_source = painted.source / "model_index.json"
    spoil_source.write_text(spoil_source.read_text() + "\n")
    done = inside("compare", painted.out, "--against", painted.source, "--steps", "1")
    assert done.returncode == 0
    assert "note: model_index.json of the source is not what unet was compiled from" in done.stderr


def test_what_the_output_no_longer_is(painted: Painted) -> None:
    """A fault that no figure shows, and the scheduler that both sides run by."""
    spoil(painted.out / "unet_variables" / "data_0", slice(-1, None), 1.001)
    path = painted.out / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"beta_end": 0.012', '"beta_end": 0.013'))
    done = inside("compare", painted.out, "--against", painted.source, "--steps", "1")
    assert done.returncode == 4
    assert [line for line in done.stderr.splitlines() if line.startswith("DIFFERS: ")] == [
        f"DIFFERS: {file}: it is not what attnfuse wrote there"
        for file in ("unet_variables/data_0", "scheduler/scheduler_config.json")
    ]


def test_the_source_is_read_as_the_options_say(painted: Painted, tmp_path: Path) -> None:
    """LoRAs, which must be those that were merged, and the variant and folder of the source."""
    layers = peft({"unet": [("proj_in", (64, 4))]})
    lora = write(tmp_path / "l.safetensors", {name: value / 8 for name, value in layers.items()})
    given = ("compare", painted.out, "--steps", "1", "--progress", "never", "--against")
    refused = inside(*given, painted.source, "--lora", lora)
    assert refused.returncode == 2
    assert "unet was compiled with other LoRAs, textual inversions or IP-Adapters than --lora" in refused.stderr
    assert "(see fixed in manifest.json)" in refused.stderr
    assert inside("compile", painted.source, "-o", painted.out, "--progress", "never", "--lora", lora).returncode == 0
    for options, code in ((("--lora", lora), 0), (("--lora", f"{lora}:0.5"), 2), ((), 2)):
        done = inside(*given, painted.source, *options)
        assert done.returncode == code, done.stderr
        assert "note: " not in done.stderr
    done = inside(*given, painted.source.parent, "--subfolder", painted.source.name, "--lora", lora)
    assert done.returncode == 0, done.stderr
    refused = inside(*given, painted.source, "--revision", "main", "--lora", lora)
    assert "is a local folder, which has no revisions" in refused.stderr
