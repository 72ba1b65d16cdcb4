"""`attnfuse compare`: compiled graphs held to those of their source, picture by picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.console import inside
from tests.support.painter import SIZE, Painted, spoil


def test_what_is_compared_and_written(painted: Painted, tmp_path: Path) -> None:
    place = tmp_path / "compared"
    done = inside("compare", painted.out, "--against", painted.source, "--steps", "3", "-o", place, "--json")
    assert done.returncode == 0, done.stderr
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
        ([], 2, "name the pipeline that"),
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


def test_another_source_is_told(painted: Painted) -> None:
    spoil_source = painted.source / "model_index.json"
    spoil_source.write_text(spoil_source.read_text() + "\n")
    done = inside("compare", painted.out, "--against", painted.source, "--steps", "1")
    assert done.returncode == 0
    assert "note: model_index.json of the source is not what unet was compiled from" in done.stderr
