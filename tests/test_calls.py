"""Calls on mindone's pipelines and models are noted, whether mindone is imported before attnfuse or after it."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from attnfuse import calls
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[1]

PIPELINE = """
class DiffusionPipeline:
    def __init__(self, **parts):
        vars(self).update(parts)
    def enable_flash_sdp(self, enabled):
        "mindone's own words"
        for part in vars(self).values():
            if hasattr(part, "enable_flash_sdp"):
                part.enable_flash_sdp(enabled)
        return "told"
    def set_flash_attention_force_cast_dtype(self, force_cast_dtype):
        pass
"""
MODEL = """
class ModelMixin:
    flash = True
    def cells_and_names(self):
        return [("", self)]
    def enable_flash_sdp(self, enabled):
        if enabled == "refused":
            raise ValueError(enabled)
        self.flash = enabled
    def set_flash_attention_force_cast_dtype(self, force_cast_dtype):
        pass
"""
SESSION = """
{first}
{second}
from mindone.diffusers.pipelines.pipeline_utils import DiffusionPipeline
from mindone.diffusers.models.modeling_utils import ModelMixin
from attnfuse.calls import noted
class Text:
    def cells_and_names(self):
        return []
FLASH, CAST = "enable_flash_sdp", "set_flash_attention_force_cast_dtype"
text, unet, other = Text(), ModelMixin(), ModelMixin()
pipe = DiffusionPipeline(text=text, unet=unet, scheduler=object())
assert pipe.enable_flash_sdp(False) == "told"
assert (noted(text, FLASH), noted(unet, FLASH), unet.flash) == ((False,), (False,), False)
unet.enable_flash_sdp(enabled=True)
pipe.set_flash_attention_force_cast_dtype(None)
assert (noted(text, FLASH), noted(unet, FLASH), unet.flash) == ((False,), (True,), True)
assert (noted(text, CAST), noted(other, CAST), noted(other, FLASH)) == ((None,), (), ())
try:
    pipe.enable_flash_sdp("refused")
except ValueError:
    pass
unet.enable_flash_sdp(False)
assert (noted(text, FLASH), noted(unet, FLASH)) == ((False,), (False,))
assert DiffusionPipeline.enable_flash_sdp.__doc__ == "mindone's own words"
"""


@pytest.mark.parametrize(
    "order", [("import attnfuse", "import mindone.use"), ("import mindone.use", "import attnfuse")]
)
def test_calls_are_noted_in_whatever_order_of_imports(tmp_path: Path, order: tuple[str, str]) -> None:
    for name, text in (("pipelines/pipeline_utils", PIPELINE), ("models/modeling_utils", MODEL)):
        file = tmp_path / "mindone" / "diffusers" / f"{name}.py"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    (tmp_path / "mindone" / "use.py").write_text(
        "import mindone.diffusers.pipelines.pipeline_utils, mindone.diffusers.models.modeling_utils\n"
    )
    for folder in ("mindone", "mindone/diffusers", "mindone/diffusers/pipelines", "mindone/diffusers/models"):
        (tmp_path / folder / "__init__.py").touch()
    script = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n" + SESSION.format(first=order[0], second=order[1])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_note_lives_as_long_as_its_part() -> None:
    class Part:
        pass

    part = Part()
    before = len(calls._noted)
    calls.note(part, "enable_flash_sdp", False)
    assert len(calls._noted) == before + 1
    del part
    gc.collect()
    assert len(calls._noted) == before


def test_watching_twice_is_watching_once() -> None:
    finders = list(sys.meta_path)
    calls.watch()
    assert sys.meta_path == finders
