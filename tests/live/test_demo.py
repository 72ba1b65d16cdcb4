"""The way mindone's guide does it, on the demo pipeline, in both types that users have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.test_live import rules_of
from tests.support.traces import demo_folder
from tests.support.waiting import PATIENCE

__all__ = ["demo_folder"]

pytestmark = [pytest.mark.mindspore, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_guide(demo_folder: Path, tmp_path: Path, dtype: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROTOCOL_BUFFERS")}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'passes'}", "HF_HUB_OFFLINE": "1"}
    out = tmp_path / "out"
    subprocess.run(
        [sys.executable, "-m", "tests.live.demo", str(demo_folder), dtype, str(out)],
        cwd=tmp_path,
        env=environment,
        timeout=PATIENCE,
        check=True,
    )
    report = json.loads((out / "report.json").read_text())
    # Half precision is never converted, so nothing that was set on casts reaches it.
    single = dtype == "float32"
    none, bfloat16 = (f"set_flash_attention_force_cast_dtype({name})" for name in ("None", "bfloat16"))
    assert rules_of(report, "unet") == (
        {("kept", None, f"pipe.unet: {none}")} if single else {("fused", "float16", "default")}
    )
    for component in ("vae_decoder", "vae_encoder"):
        assert rules_of(report, component) == (
            {("fused", "bfloat16", f"pipe.vae: {bfloat16}")} if single else {("fused", "float16", "default")}
        )
    assert rules_of(report, "text_encoder") == {("fused", "float16", "default")}
    assert report["totals"]["sites"] == 46
