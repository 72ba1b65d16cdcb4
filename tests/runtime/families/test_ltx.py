"""LTX-Video: graphs and schedulers that do not go together. That it goes as mindone's, the test of the loops shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from tests.support.film_models import UNIPC, components, loop, write_pipeline
from tests.support.loop_models import changed


def test_a_transformer_of_another_pipeline(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "ltx_image")
    graphs = {**components("ltx_image"), "transformer": components("ltx")["transformer"]}
    with pytest.raises(AttnfuseRuntimeError, match="transformer takes no token_timesteps; compile it for this"):
        loop(tmp_path, "ltx_image", graphs)


def test_another_scheduler(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "ltx")
    (tmp_path / "scheduler/scheduler_config.json").write_text("{}")
    changed(tmp_path / "scheduler/scheduler_config.json", **UNIPC)
    with pytest.raises(AttnfuseRuntimeError, match="the scheduler is UniPCMultistepScheduler, and the loop is for"):
        loop(tmp_path, "ltx", components("ltx"))
