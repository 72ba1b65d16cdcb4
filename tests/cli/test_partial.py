"""One component that cannot be traced does not lose the others; and components that only the user can specify."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.report.model import Manifest, Report
from attnfuse.tracing.demo import write_json
from tests.cli.conftest import Answer, Command, tree
from tests.support.checkpoints import SMALL_VAE, XL_TEXT_ENCODER, write_model

INPUTS = """
[picture]
part = "vae"
method = "decode"
outputs = ["image"]
inputs.latents = { shape = [1, 4, 6, 8], to = "z" }
fixed.return_dict = false

[text_encoder.inputs.input_ids]
shape = [1, 7]
dtype = "int64"
"""


def newest_pipeline(folder: Path) -> Path:
    """A pipeline of a class that is not known: a good VAE, a text encoder of another vocabulary than its weights."""
    write_model(folder / "vae", {**SMALL_VAE, "zero_cond_t": True})
    write_model(folder / "text_encoder", XL_TEXT_ENCODER)
    write_json(folder / "text_encoder" / "config.json", {**XL_TEXT_ENCODER, "vocab_size": 600})
    index = {
        "_class_name": "NewestPipeline",
        "vae": ["diffusers", "AutoencoderKL"],
        "transformer": ["diffusers", "NewestTransformer"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    write_json(folder / "model_index.json", index)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "inputs.toml").write_text(INPUTS)
    (tmp_path / "pipeline").mkdir()
    return newest_pipeline(tmp_path / "pipeline")


@pytest.mark.mindspore
def test_the_others_are_written_and_the_failures_named(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = command("compile", source, "-o", out, "--inputs", tmp_path / "inputs.toml", "--json")
    assert answer.code == 3
    report = Report.model_validate_json((out / "report.json").read_bytes())
    assert [component.name for component in report.components] == ["picture"]
    reasons = {failed.name: failed.reason for failed in report.failed}
    assert reasons.keys() == {"transformer", "text_encoder"}
    assert reasons["transformer"].startswith("class NewestTransformer is not supported")
    assert reasons["text_encoder"].startswith("parameter ")  # the name is said before it
    assert "its weight in text_encoder has shape [514, 32]" in reasons["text_encoder"]
    assert report.totals.failed == 2
    assert answer.document["failed"] == [failed.model_dump() for failed in report.failed]
    manifest = Manifest.model_validate_json((out / "manifest.json").read_bytes())
    (component,) = manifest.components
    message = "its checkpoint is stored in float32"
    assert (component.dtype, component.dtype_from) == ("float16", message)
    (warning,) = component.warnings
    assert "AutoencoderKL does not take, so that the model is built without them: zero_cond_t" in warning
    assert report.warnings == (f"picture: {warning}",)
    assert f"warning: picture: {warning}" in answer.err
    assert (report.components[0].dtype, report.components[0].dtype_from) == ("float16", message)
    assert [(t.name, t.shape, t.dtype) for t in component.inputs] == [("latents", (1, 4, 6, 8), "float16")]
    assert [(t.name, t.shape, t.dtype) for t in component.outputs] == [("image", (1, 3, 12, 16), "float16")]
    for name, reason in reasons.items():
        assert f"error: component {name} was left out: {reason}." in answer.err
    assert "wrote" in answer.err
    assert str(tmp_path) not in "".join(reasons.values())


def test_a_configuration_taken_strictly(command: Command, source: Path, tmp_path: Path) -> None:
    inputs = ("--inputs", tmp_path / "inputs.toml", "--component", "picture")
    answer = command("compile", source, "-o", tmp_path / "out", *inputs, "--strict-config")
    assert (answer.code, answer.out) == (3, "")
    assert "zero_cond_t" in answer.error
    assert "refused, --strict-config being given" in answer.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("demand", [[], ["--require", "failed==0"]])
def test_where_nothing_can_be_traced_nothing_is_written(
    command: Command, source: Path, tmp_path: Path, demand: list[str]
) -> None:
    """A requirement counts what was compiled: of nothing there is no report to hold it against, as --help says."""
    answer = command("compile", source, "-o", tmp_path / "out", "--component", "transformer", *demand)
    assert (answer.code, answer.out) == (3, "")
    assert "component transformer: class NewestTransformer is not supported" in answer.error
    assert not (tmp_path / "out").exists()
    assert "exit code is 3 either way" in " ".join(command("compile", "--help").out.split())


def components(command: Command, *arguments: str | Path) -> Answer:
    answer = command("components", *arguments)
    assert (answer.code, answer.err) == (0, "")
    return answer


def test_components_are_told(command: Command, demo_folder: Path) -> None:
    document = components(command, demo_folder, "--json", "--height", "64", "--no-guidance").document
    assert document["schema"] == "attnfuse.components/2"
    parts = {part["name"]: part for part in document["parts"]}
    assert parts["tokenizer"] == {
        "name": "tokenizer",
        "class": "CLIPTokenizer",
        "network": False,
        "problem": None,
        "components": [],
    }
    (unet,) = parts["unet"]["components"]
    assert (unet["name"], unet["dtype"], unet["outputs"]) == ("unet", "float16", ["sample"])
    assert unet["inputs"][0] == {"name": "sample", "shape": [1, 4, 8, 16], "dtype": "float16"}
    assert [component["name"] for component in parts["vae"]["components"]] == ["vae_decoder", "vae_encoder"]
    assert str(demo_folder) not in json.dumps(document)


def test_components_as_text(command: Command, source: Path, tmp_path: Path) -> None:
    before = tree(source)
    said = components(command, source, "--inputs", tmp_path / "inputs.toml", "--dtype", "float32").out
    assert said == (
        "transformer (NewestTransformer): cannot be traced: class NewestTransformer is not supported; say with"
        " --inputs what it is called with\n"
        "vae (AutoencoderKL)\n"
        "  picture, in float32 (asked for; its checkpoint is stored in float32)\n"
        "    warning: config.json has keys that mindone's AutoencoderKL does not take, so that the model is built"
        " without them: zero_cond_t (written by diffusers 0.35.1; mindone's counterpart is 0.35.1)\n"
        "    latents: float32 [1, 4, 6, 8]\n"
        "    gives image\n"
        "text_encoder (CLIPTextModel)\n"
        "  text_encoder, in float32 (asked for; its checkpoint is stored in float32)\n"
        "    input_ids: int64 [1, 7]\n"
        "    gives output\n"
        "tokenizer (CLIPTokenizer): nothing to compile\n"
    )
    assert tree(source) == before


def test_a_traced_graph_has_its_inputs(command: Command, tmp_path: Path) -> None:
    (tmp_path / "inputs.toml").write_text(INPUTS)
    graph = tmp_path / "unet.mindir"
    assert "is one traced graph and no pipeline" in command("components", graph).error
    answer = command("inspect", graph, "--inputs", tmp_path / "inputs.toml")
    assert answer.code == 2
    assert "is a traced graph, which has its inputs" in answer.error
