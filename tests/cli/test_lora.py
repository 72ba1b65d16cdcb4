"""--lora: merged into the weights of the result, told in its documents, and asked for again by whoever comes after."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file

from attnfuse.mindir import codec
from attnfuse.mindir.external import parameter_name, parameters
from attnfuse.output import digest
from tests.cli.conftest import Command, Run, tree
from tests.support.lora_files import kohya, peft, write
from tests.support.tracer import Tracer, stand_in

TO_K, TO_Q = "blocks.0.attn1.to_k", "blocks.0.attn1.to_q"
LAYERS = [(TO_K, (64, 64)), (TO_Q, (64, 64))]


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return write(tmp_path / "style.safetensors", kohya({"lora_unet": LAYERS}, 6.0))


def weights(folder: Path, component: str = "unet") -> dict[str, npt.NDArray[np.float16]]:
    graph = codec.parse((folder / f"{component}_graph.mindir").read_bytes(), "x")
    data = (folder / f"{component}_variables" / "data_0").read_bytes()
    return {
        parameter_name(p): np.frombuffer(
            data[p.external_data.offset : p.external_data.offset + p.external_data.length], np.float16
        ).reshape(p.dims)
        for p in parameters(graph)
    }


def expected(source: Path, lora: Path, scale: float) -> dict[str, npt.NDArray[np.float16]]:
    """The checkpoint's weights with what that LoRA adds, of an alpha of 6."""
    found = {name: value.astype(np.float64) for name, value in load_file(source / "unet" / _FILE).items()}
    factors = load_file(lora)
    for module, _ in LAYERS:
        name = f"lora_unet_{module.replace('.', '_')}"
        up, down = (factors[f"{name}.lora_{which}.weight"].astype(np.float64) for which in ("up", "down"))
        found[f"{module}.weight"] += scale * 6.0 / len(down) * (up @ down)
    return {name: value.astype(np.float16) for name, value in found.items()}


_FILE = "diffusion_pytorch_model.safetensors"


def told(folder: Path, component: str = "unet") -> list[Any]:
    """What manifest and report say of the component's LoRAs."""
    entries = []
    for document in ("manifest.json", "report.json"):
        (entry,) = (c for c in json.loads((folder / document).read_text())["components"] if c["name"] == component)
        entries.append([one["value"] for one in entry["fixed"] if one["name"] == "lora_scale"])
    assert entries[0] == entries[1]
    return entries[0]


def test_it_is_merged_and_told(compiled: Run, source: Path, lora: Path, tmp_path: Path) -> None:
    compiled()
    plain = tree(tmp_path / "out")
    assert told(tmp_path / "out") == [None]
    compiled(options=("--lora", f"{lora}:0.5"))
    for name, value in expected(source, lora, 0.5).items():
        np.testing.assert_array_equal(weights(tmp_path / "out")[name], value)
    entry: dict[str, Any] = {"file": "style.safetensors", "sha256": digest(lora).sha256, "scale": 0.5, "weights": 2}
    assert told(tmp_path / "out") == [[entry]]
    assert told(tmp_path / "out", "vae_decoder") == []
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    name = f"lora/{entry['sha256'][:12]}/style.safetensors"
    assert manifest["inputs"][name]["sha256"] == entry["sha256"]
    assert [name in component["sources"] for component in manifest["components"]] == [True, False, False]
    # The graphs are what they were: only the weights differ.
    made = tree(tmp_path / "out")
    assert {name for name in plain if plain[name] != made[name]} == {
        "unet_variables/data_0",
        "manifest.json",
        "report.json",
    }
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


def test_two_are_added(compiled: Run, source: Path, lora: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.safetensors", peft({"unet": LAYERS[:1]}))
    compiled(options=("--lora", lora, "--lora", f"{other}:-2"))
    factors = load_file(other)
    up, down = factors[f"unet.{TO_K}.lora_B.weight"], factors[f"unet.{TO_K}.lora_A.weight"]
    name = f"{TO_K}.weight"
    wanted = expected(source, lora, 1.0)[name].astype(np.float64) - 2 * (up.astype(np.float64) @ down)
    assert np.abs(weights(tmp_path / "out")[name] - wanted).max() < 2e-2
    assert [(one["file"], one["scale"]) for one in told(tmp_path / "out")[0]] == [
        ("style.safetensors", 1.0),
        ("other.safetensors", -2.0),
    ]


def test_what_was_made_with_another_is_made_again(
    compiled: Run, source: Path, lora: Path, tmp_path: Path, command: Command
) -> None:
    cache = ("--cache-dir", tmp_path / "cache")
    compiled(options=cache)
    for scale in (1.0, 0.25):
        compiled(options=(*cache, "--lora", f"{lora}:{scale}"))
        np.testing.assert_array_equal(
            weights(tmp_path / "out")[f"{TO_Q}.weight"], expected(source, lora, scale)[f"{TO_Q}.weight"]
        )
    write(lora, kohya({"lora_unet": LAYERS[:1]}, 6.0))
    compiled(options=(*cache, "--lora", f"{lora}:0.25"))
    original = load_file(source / "unet" / _FILE)[f"{TO_Q}.weight"]
    np.testing.assert_array_equal(weights(tmp_path / "out")[f"{TO_Q}.weight"], original)
    checked = command("compile", source, "-o", tmp_path / "out", "--check", "--lora", f"{lora}:0.25")
    assert checked.code == 0, checked.err
    assert command("compile", source, "-o", tmp_path / "out", "--check").code == 1


def test_what_stands_was_made_with_the_same(compiled: Run, source: Path, lora: Path, tmp_path: Path) -> None:
    compiled(options=("--lora", lora))
    before = tree(tmp_path / "out")
    compiled("vae_decoder", options=("--lora", lora))
    assert tree(tmp_path / "out") == before
    other = write(tmp_path / "both.safetensors", peft({"unet": LAYERS, "vae": LAYERS}))
    assert "unet with other LoRAs" in compiled("vae_decoder", options=("--lora", other), code=2).error
    assert (
        "unet with other LoRAs, textual inversions or IP-Adapters than --lora" in compiled("vae_decoder", code=2).error
    )
    compiled("unet", options=("--lora", lora))
    assert tree(tmp_path / "out") == before


@pytest.mark.usefixtures("verifying")
def test_verification_wants_the_same(compiled: Run, source: Path, lora: Path, tmp_path: Path, command: Command) -> None:
    compiled(options=("--lora", lora, "--verify", "static"))
    out = tmp_path / "out"
    refused = command("verify", source, out, "--level", "static")
    assert refused.code == 2
    assert re.search(r"unet of \S+ was compiled with other LoRAs, textual", refused.error)
    passed = command("verify", source, out, "--level", "static", "--lora", lora)
    assert passed.code == 0, passed.err
    assert "unet: not verified again" in passed.err
    assert command("verify", source, out, "--level", "static", "--again", "--lora", lora).code == 0
    assert command("verify", out, "--lora", lora).code == 2


def test_what_is_refused(compiled: Run, source: Path, lora: Path, tmp_path: Path, command: Command) -> None:
    def refused(*options: str | Path, code: int, given: Path = source) -> str:
        answer = compiled(given=given, code=code, options=options)
        assert not (tmp_path / "out").exists()
        return answer.error

    assert "absent.safetensors does not exist" in refused("--lora", "absent.safetensors", code=3)
    assert "is given twice" in refused("--lora", lora, "--lora", f"{lora}:0.5", code=2)
    strange = write(tmp_path / "strange.safetensors", peft({"unet": [("no.such", (64, 64))]}))
    error = refused("--lora", strange, code=3)
    assert (
        "strange.safetensors has tensor 'unet.no.such.lora_A.weight', and unet (UNet2DConditionModel) has no" in error
    )
    wide = write(tmp_path / "wide.safetensors", peft({"unet": [(TO_K, (64, 48))]}))
    assert f"adds to parameter '{TO_K}.weight' has shape [64, 48], and the parameter [64, 64]" in refused(
        "--lora", wide, code=3
    )
    part = write(tmp_path / "part.safetensors", kohya({"lora_te": LAYERS}))
    assert "for a part text_encoder that the pipeline does not have; it has unet, vae" in refused(
        "--lora", part, code=3
    )
    decoder = write(tmp_path / "decoder.safetensors", peft({"vae": LAYERS}))
    answer = compiled("unet", code=2, options=("--lora", decoder))
    assert "decoder.safetensors is for vae, and none of that is compiled; drop it" in answer.error
    graph = tmp_path / "unet.mindir"
    graph.write_bytes(b"x")
    assert "is a traced graph, whose weights may have a LoRA" in refused("--lora", lora, code=2, given=graph)


def test_a_value_that_decides_is_the_merged_one(
    monkeypatch: pytest.MonkeyPatch, compiled: Run, lora: Path, tmp_path: Path
) -> None:
    """A weight that mindone computes with is merged as well."""
    tracer = Tracer()
    tracer.spill = [f"{TO_K}.weight"]
    stand_in(monkeypatch, tracer)
    compiled("unet")
    before = weights(tmp_path / "out")[f"{TO_K}.weight"]
    compiled("unet", options=("--lora", lora))
    assert np.abs(weights(tmp_path / "out")[f"{TO_K}.weight"] - before).max() > 0.01
