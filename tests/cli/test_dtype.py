"""--dtype: of all components, or of one and another; and what one hands to the other goes over in its types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.tracing.demo import write_demo
from tests.cli.conftest import Answer, Command
from tests.support.console import inside
from tests.support.painter import Painted

MIXED = ("--dtype", "unet=float16,text_encoder=float32", "--dtype", "vae_decoder=float16")


def types(folder: Path, document: str = "manifest") -> dict[str, tuple[str, str]]:
    """The type of each component and where it comes from."""
    told = json.loads((folder / f"{document}.json").read_bytes())["components"]
    return {one["name"]: (one["dtype"], one["dtype_from"]) for one in told}


def test_what_is_handed_over_goes_over_in_their_types(painted: Painted, tmp_path: Path) -> None:
    out = tmp_path / "mixed"
    done = inside("compile", painted.source, "-o", out, *MIXED, "--progress", "never")
    assert done.returncode == 0, done.stderr
    assert types(out) == types(out, "report")
    stored = "its checkpoint is stored in float16"
    assert types(out) == {
        "unet": ("float16", f"asked for; {stored}"),
        "vae_decoder": ("float16", f"asked for; {stored}"),
        "vae_encoder": ("float16", stored),
        "text_encoder": ("float32", f"asked for; {stored}"),
    }
    components = {one["name"]: one for one in json.loads((out / "manifest.json").read_bytes())["components"]}
    (states,) = (one for one in components["unet"]["inputs"] if one["name"] == "encoder_hidden_states")
    assert (components["text_encoder"]["outputs"][0]["dtype"], states["dtype"]) == ("float32", "float16")
    # What a table in float16 holds is the same in float32 and back: so is the picture.
    for folder in (painted.out, out):
        picture = tmp_path / f"{folder.name}.png"
        done = inside("run", folder, "--prompt", "a cat", "--steps", "2", "-o", picture, "--progress", "never")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "mixed.png").read_bytes() == (tmp_path / "out.png").read_bytes()


def test_what_is_refused(painted: Painted, tmp_path: Path, command: Command) -> None:
    def refused(*given: str) -> str:
        answer: Answer = command("compile", painted.source, "-o", tmp_path / "new", "--progress", "never", *given)
        assert answer.code == 2, answer.err
        assert not (tmp_path / "new").exists()
        return answer.error

    assert "'fp16' is no type; give one of auto, float16, bfloat16, float32, or NAME=TYPE" in refused("--dtype", "fp16")
    assert "did you mean float16?" in refused("--dtype", "unet=flaot16")
    assert "'=float16' is no type" in refused("--dtype", "=float16")
    assert "--dtype of unet is given twice, float16 and float32" in refused("--dtype", "unet=float16,unet=float32")
    assert "--dtype is given twice, auto and float32" in refused("--dtype", "auto", "--dtype", "float32")
    assert "there is no component 'unte'; did you mean 'unet'?" in refused("--dtype", "unte=float16")
    soc = ("--soc", "ascend310p")
    assert "bfloat16 is not on ascend310p: trace in" in refused("--dtype", "vae=bfloat16", *soc)


@pytest.mark.slow
@pytest.mark.mindspore
def test_compiled_verified_and_run(tmp_path: Path) -> None:
    """The demo, whose text encoder is in float32 and whose UNet in float16: verified in full, and a picture."""
    demo = tmp_path / "demo"
    demo.mkdir()
    write_demo(demo)
    options = ("--verify", "full", "--require", "deployable", "--progress", "never")
    done = inside("compile", demo, "-o", tmp_path / "out", *MIXED, *options)
    assert done.returncode == 0, done.stderr
    assert {name: dtype for name, (dtype, _) in types(tmp_path / "out").items()} == {
        "unet": "float16",
        "vae_decoder": "float16",
        "vae_encoder": "float16",
        "text_encoder": "float32",
    }
    done = inside("run", tmp_path / "out", "--prompt", "a cat", "--steps", "1", "-o", tmp_path / "cat.png")
    assert done.returncode == 0, done.stderr
