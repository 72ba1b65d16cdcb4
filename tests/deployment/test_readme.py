"""README.md of an output says what the manifest and the report say, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from attnfuse.deployment.readme import readme
from attnfuse.output import FileDigest
from attnfuse.report.build import totals_of
from attnfuse.report.model import (
    FailedEntry,
    Manifest,
    ManifestComponent,
    ManifestInput,
    ManifestPipeline,
    Report,
)
from attnfuse.tracing.contract import TensorSpec

PIPELINE = ManifestPipeline(
    class_name="StableDiffusionPipeline",
    source="org/name",
    revision="1f2e",
    height=512,
    width=768,
    guidance_rows=2,
    text_lengths={"text_encoder": 77},
    files=("model_index.json",),
)
UNET = ManifestComponent(
    name="unet",
    owner="unet",
    graph="unet|graph.mindir",
    variables=("unet_variables/data_0",),
    config="configs/unet.cfg",
    inputs=(
        ManifestInput(name="sample", shape=(2, 4, 64, 96), dtype="float16", converted_dtype="float16"),
        ManifestInput(name="timestep", shape=(1,), dtype="int64", converted_dtype="int32"),
    ),
    outputs=(TensorSpec("sample", (2, 4, 64, 96), "float16"),),
    sources=(),
)
FILES = {"unet|graph.mindir": FileDigest("", 1024), "unet_variables/data_0": FileDigest("", 3 * 2**20)}


def text(
    pipeline: ManifestPipeline | None = PIPELINE,
    failed: tuple[FailedEntry, ...] = (),
    already_fused: int = 0,
    **changes: Any,
) -> str:
    known: dict[str, Any] = {
        "versions": {"attnfuse": "0.1.0", "mindspore": "2.7.1"}, "runtime": "lite", "soc": "ascend910b", "policy": (),
        "components": (UNET,), "inputs": {}, "outputs": FILES,
    }  # fmt: skip
    manifest = Manifest(pipeline=pipeline, **{**known, **changes})
    totals = totals_of([], len(failed)).model_copy(update={"sites": 32, "fused": 30, "already_fused": already_fused})
    report = Report(
        runtime=manifest.runtime, soc=manifest.soc, components=(), failed=failed, totals=totals, warnings=()
    )
    return readme(manifest, report)


def test_of_films_the_loop_that_makes_them() -> None:
    told = text(PIPELINE.model_copy(update={"class_name": "WanPipeline", "frames": 81}))
    assert 'loop = TextToVideo.from_folder(".", backend="lite", devices=0)' in told
    assert "where attnfuse-runtime has a loop for WanPipeline; else it says so" in told
    assert "TextToImage" not in told


def test_of_a_pipeline() -> None:
    said = text()
    assert said.startswith("# StableDiffusionPipeline for MindSpore Lite on ascend910b\n")
    for wanted in (
        "of org/name at commit 1f2e; attention is fused at 30 of 32 sites",
        "| unet | `unet graph.mindir` | 3.0 MiB | `sample float16[2, 4, 64, 96]`, `timestep int64[1]`, converted int32",
        "- Compiled for 512 × 768 pixels.",
        "- 2 rows an image: both halves of guidance in one run.",
        "- text_encoder takes 77 tokens.",
        "`model_index.json`",
        "MindSpore Lite 2.7: converter_lite",
        "`pip wheel --no-deps ./runtime`",
        "    bash convert.sh ../converted\n",
        'loop = TextToImage.from_folder(".", backend="lite", devices=0)',
        "has a loop for StableDiffusionPipeline; else it says so",
        'Pipeline.from_folder(".", backend="lite", devices=0)',
        "`attnfuse compare . --against SOURCE` compares pictures",
        'pipeline["unet"](sample=..., timestep=...)',
        "Nothing here was run on a device",
    ):
        assert wanted in said
    assert said == text()
    judged = text(judged_by={"kernels": "CANN 8.1.RC1, aic-*-ops-info.json"})
    assert "by no device; other versions may take more, or less:\n\n- kernels: CANN 8.1.RC1, aic" in judged


def test_what_it_writes_lies_beside_it() -> None:
    said = text()
    assert said.count("../picture.png") == 2
    assert '"picture.png"' not in said
    assert " picture.png" not in said


def test_what_was_fused_already_counts_once() -> None:
    assert "attention is fused at 30 of 32 sites" in text(already_fused=30)


def test_of_what_is_known_less() -> None:
    said = text(None, versions={"attnfuse": "0.1.0"})
    assert said.startswith("# unet for MindSpore Lite on ascend910b\n")
    assert "of graphs that were traced before; attention" in said
    assert "MindSpore Lite of the MindSpore that traced the graphs: converter_lite" in said
    for missing in ("pixels", "guidance", "tokens", "commit", "loop", "pictures"):
        assert missing not in said
    assert "of a folder of a single model; " in text(ManifestPipeline())
    said = text(ManifestPipeline(class_name="WanPipeline", height=8, width=8, frames=9, guidance_rows=1))
    assert "of a folder of WanPipeline; " in said
    assert "8 × 8 pixels, 9 frames." in said
    assert "- 1 row an image: guidance takes two runs." in said
    assert "- 3 rows an image: all that guidance takes in one run." in text(ManifestPipeline(guidance_rows=3))


def test_of_another_runtime() -> None:
    said = text(runtime="mindspore", components=(UNET.model_copy(update={"config": None}),))
    assert "for MindSpore on ascend910b" in said
    assert "with CANN and MindSpore 2.7.1." in said
    assert "mindspore.load" in said
    assert "convert.sh" not in said
    assert "MindSpore Lite" not in said


def test_of_what_is_left_out() -> None:
    assert "Not compiled: vae, controlnet.\n" in text(
        failed=(FailedEntry(name="vae", reason="x"), FailedEntry(name="controlnet", reason="y"))
    )
    assert "Not compiled" not in text()


@pytest.mark.parametrize(("shape", "told"), [((-1, 4), True), ((2, 4), False)])
def test_of_open_sizes(shape: tuple[int, ...], told: bool) -> None:
    unet = UNET.model_copy(update={"inputs": (ManifestInput(name="x", shape=shape, dtype="float16"),)})
    assert ("Sizes of -1 are open" in text(components=(unet,))) == told
