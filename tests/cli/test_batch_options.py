"""Every option that a compile of a batch may have: a bad value is told before anything is done, with the table's number
and the option's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.cli.batch_file import _options
from tests.cli.conftest import Command, tree
from tests.farm.conftest import compiles_here, tracer, write_pipeline
from tests.support.tracer import Tracer

__all__ = ["compiles_here", "tracer"]

SOUND = '[[compile]]\nsource = "{place}/sd"\noutput = "{place}/first"\n'

BAD: dict[str, list[tuple[str, str]]] = {
    "again": [("true", "--again is for --verify static, sampled or full")],
    "batch": [("0", "--batch"), ("1.5", "--batch")],
    "clip-skip": [("0", "--clip-skip")],
    "component": [('["none"]', "none")],
    "config": [('"x"', "--config names the configurations of a single file")],
    "data": [('"none.npz"', "--data feeds --verify full")],
    "dtype": [('"float61"', "--dtype"), ('["unet=float16", "unet=float32"]', "--dtype of unet is given twice")],
    "dynamic": [('"size"', "--dynamic")],
    "exclude": [('["none"]', "none")],
    "force-cast-dtype": [('"float31"', "--force-cast-dtype")],
    "frames": [("-1", "--frames"), ("4", "frames")],
    "golden": [("1", "golden is true or false")],
    "guidance": [('"on"', "guidance is true or false")],
    "height": [("0", "--height"), ("7", "height")],
    "inputs": [('"none.toml"', "none.toml")],
    "ip-adapter": [('"a.safetensors@much"', "--ip-adapter"), ('"@1"', "--ip-adapter")],
    "jobs": [("0", "--jobs")],
    "log-file": [('"{place}/none/log"', "the log {place}/none/log cannot be written"), ('"{place}/sd/log"', "the log")],
    "lora": [('["a.safetensors:nan"]', "--lora")],
    "max-memory": [('"8GiB"', "--max-memory is for --verify")],
    "no-flash": [("[true]", "no-flash is a text or a number")],
    "offline": [('"yes"', "offline is true or false")],
    "output": [('"{place}/sd/out"', "overlap"), ('"{place}/out.mindir"', "is one file"), ('"{place}/first"', "of two")],
    "pass": [('["none.option=1"]', "none"), ('["fuse.none=1"]', "none")],
    "policy": [('"none.toml"', "none.toml"), ('"{place}/bad.toml"', "bad.toml")],
    "report": [('"{place}/none/r.json"', "the report {place}/none/r.json"), ('"{place}/second/r"', "would lie in")],
    "reporter": [('["none"]', "there is no reporter 'none'")],
    "require": [('["fused>>sites"]', "--require"), ('["beauty>0.5"]', "beauty")],
    "revision": [('"v1"', "--revision")],
    "runtime": [('"liter"', "--runtime")],
    "seed": [("-1", "--seed"), ("7", "--seed is for --verify")],
    "sequence-length": [("[0]", "--sequence-length")],
    "size": [('["large"]', "--size")],
    "soc": [('"911"', "--soc")],
    "strict-config": [("0", "strict-config is true or false")],
    "strict-policy": [("0", "strict-policy is true or false")],
    "subfolder": [("true", "subfolder is a text or a number")],
    "textual-inversion": [('["a.safetensors: "]', "--textual-inversion")],
    "timestep-dtype": [('"int65"', "--timestep-dtype")],
    "trace": [('"partly"', "--trace")],
    "vae": [("false", "vae is a text or a number")],
    "variant": [('"fp61"', "variant 'fp61'")],
    "verbose": [('"very"', "verbose is true or false")],
    "verify": [('"fully"', "--verify")],
    "width": [("0", "--width"), ('["64"]', "each.width makes a compile for each")],
}
"""Values that cannot be meant (TOML), and what is said of each."""
CASES = [(name, *case) for name, cases in BAD.items() for case in cases]


def test_every_option_is_among_them() -> None:
    """One that is added needs a value that cannot be meant."""
    names = {next(name for name in option.opts if name.startswith("--")).lstrip("-") for option in _options()}
    assert names == set(BAD)


@pytest.mark.parametrize(("name", "value", "said"), CASES, ids=[f"{name}={value}" for name, value, _ in CASES])
@pytest.mark.usefixtures("compiles_here")
def test_a_bad_value_is_told_at_once(
    name: str, value: str, said: str, command: Command, tracer: Tracer, tmp_path: Path
) -> None:
    """Though another compile before it is sound: nothing is traced, compiled or written."""
    write_pipeline(tmp_path / "sd")
    (tmp_path / "bad.toml").write_text("[[rule]]\nnone = 1\n")
    options = {"source": f'"{tmp_path}/sd"', "output": f'"{tmp_path}/second"', name: value}
    text = SOUND + "[[compile]]\n" + "".join(f"{key} = {given}\n" for key, given in options.items())
    (tmp_path / "farm.toml").write_text(text.replace("{place}", str(tmp_path)))
    before = tree(tmp_path)
    answer = command("batch", tmp_path / "farm.toml", "--cache-dir", tmp_path / "cache", "--progress", "never")
    assert answer.code == 2, answer.err
    assert f"the batch {tmp_path / 'farm.toml'}, compile 2" in answer.error
    assert said.replace("{place}", str(tmp_path)) in answer.error
    assert tracer.traced == []
    left = {path: content for path, content in tree(tmp_path).items() if not path.startswith("cache/")}
    assert left == before
