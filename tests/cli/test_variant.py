"""--variant: one that no part has is refused; one that some part has is planned for all."""

from __future__ import annotations

import shutil
from pathlib import Path

from attnfuse.sources import PipelineSource, open_source
from attnfuse.tracing.contract import Fetch, ShapeOptions
from attnfuse.tracing.parts import Terms
from tests.cli.conftest import Run


def test_a_variant(compiled: Run, source: Path, tmp_path: Path) -> None:
    error = compiled(code=2, options=("--variant", "fp16")).error
    assert "has no weights of variant 'fp16' for unet, vae; drop --variant." in error
    assert not (tmp_path / "out").exists()
    plain = source / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(plain, plain.with_name("diffusion_pytorch_model.fp16.safetensors"))
    found = open_source(str(source), (), None, ShapeOptions(), terms=Terms(fetch=Fetch(variant="fp16")))
    assert isinstance(found, PipelineSource)
    assert {plan.variant for plan in found.planned.plans} == {"fp16"}
    compiled(options=("--variant", "fp16"))
    assert compiled(code=3, options=("--subfolder", "no/such")).error.endswith("has no folder 'no/such'.")
