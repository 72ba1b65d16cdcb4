"""Several sizes from one compile: one set of weights, a graph of each size, and the run time picks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from attnfuse import shared_weights
from attnfuse.mindir import codec, external
from attnfuse.mindir.external import parameter_name
from attnfuse.output import digest
from attnfuse.tracing.contract import ComponentPlan, StoredWeight, TracedComponent
from attnfuse_runtime import Pipeline
from tests.support import painter
from tests.support.console import inside
from tests.support.painter import Painted
from tests.support.tracer import stand_in

SIZES = ("--size", "128x128", "--size", "192x128", "--size", "128x128,batch=3")
UNETS = ("unet", "unet_192x128", "unet_128x128_batch3")


def compiled(painted: Painted, out: Path, *further: str | Path) -> Path:
    done = inside("compile", painted.source, "-o", out, *SIZES, *further, "--progress", "never")
    assert done.returncode == 0, done.stderr
    return out


def components(out: Path) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads((out / "manifest.json").read_bytes())["components"]}


def contents(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def values(out: Path, graph: str) -> dict[str, bytes]:
    """What a graph's weights hold, by name."""
    found = {}
    for parameter in external.parameters(codec.parse((out / graph).read_bytes(), graph)):
        at = parameter.external_data
        found[parameter_name(parameter)] = (out / at.location).read_bytes()[at.offset : at.offset + at.length]
    return found


class Spilling:
    """Traces as the painter, and writes one weight of the UNet at a size itself, with other numbers."""

    def __init__(self, at: str) -> None:
        self.at = at

    def __call__(self, plan: ComponentPlan, work: Path) -> TracedComponent:
        made = painter.trace(plan, work)
        if plan.name != self.at:
            return made
        first, *others = made.weights
        spilled = work.resolve() / "spilled.safetensors"
        save_file({first.key: load_file(first.file)[first.key] * np.float16(2)}, spilled)
        own = StoredWeight(first.parameter, spilled, first.key, first.dtype, first.shape)
        return TracedComponent(plan, made.graph, (own, *others), made.outputs, made.versions, 1.0, 2**20)


@pytest.fixture
def out(painted: Painted, tmp_path: Path) -> Path:
    return compiled(painted, tmp_path / "sizes")


def test_one_file_of_weights_and_a_graph_of_each_size(painted: Painted, tmp_path: Path) -> None:
    out = compiled(painted, tmp_path / "sizes", "--cache-dir", tmp_path / "cache")
    known = components(out)
    assert {name: known[name]["base"] for name in UNETS} == {"unet": None, **dict.fromkeys(UNETS[1:], "unet")}
    assert {tuple(known[name]["variables"]) for name in UNETS} == {("unet_variables/data_0",)}
    assert {path.parent.name for path in out.glob("*_variables/*")} == {
        "text_encoder_variables",
        "unet_variables",
        "vae_decoder_variables",
        "vae_encoder_variables",
    }
    assert [known[name]["inputs"][0]["shape"] for name in UNETS] == [[2, 4, 16, 16], [2, 4, 16, 24], [6, 4, 16, 16]]
    alone = values(painted.out, "unet_graph.mindir")
    assert all(values(out, known[name]["graph"]) == alone for name in UNETS)
    # What is of no size is of one graph: the text encoder at 192x128.
    assert [name for name in known if name.startswith("text")] == ["text_encoder", "text_encoder_128x128_batch3"]
    # A graph that stands is taken over, and one made anew is the same.
    first = contents(out)
    compiled(painted, out, "--cache-dir", tmp_path / "cache")
    assert contents(out) == first
    assert contents(compiled(painted, tmp_path / "again")) == first


def test_the_run_time_picks(painted: Painted, out: Path, tmp_path: Path) -> None:
    made = tmp_path / "picture.png"
    for size, prompts, used in (
        (None, 1, "unet"),
        ("192x128", 1, "unet_192x128"),
        ("192x128", 2, "unet_192x128"),
        ("128x128", 2, "unet_128x128_batch3"),
    ):
        record = tmp_path / f"{size}-{prompts}"
        asked = () if size is None else ("--size", size)
        done = inside(
            "run", out, *["--prompt", "snow"] * prompts, "--steps", "1", "-o", made, "--record", record, *asked
        )
        assert done.returncode == 0, done.stderr
        assert [path.name for path in record.iterdir() if path.name.startswith("unet")] == [used]
    # The same picture as of a compile for that size alone.
    inside("run", out, "--prompt", "snow", "--steps", "2", "-o", made, "--size", "192x128")
    alone = tmp_path / "alone"
    inside("compile", painted.source, "-o", alone, "--width", "192", "--height", "128", "--progress", "never")
    inside("run", alone, "--prompt", "snow", "--steps", "2", "-o", tmp_path / "alone.png")
    np.testing.assert_array_equal(np.asarray(Image.open(made)), np.asarray(Image.open(tmp_path / "alone.png")))
    refused = inside("run", out, "--prompt", "snow", "-o", made, "--size", "64x64")
    assert refused.returncode == 2
    assert "was compiled for pictures of 128x128, 192x128, and --size asks for 64x64" in refused.stderr


def test_what_is_loaded_for_a_size(out: Path) -> None:
    loaded: list[str] = []

    class Backend:
        def load(self, component: Any) -> Any:
            loaded.append(component.name)
            return lambda inputs: []

    pipeline = Pipeline.from_folder(out, Backend())
    first, wide, several = (pipeline.at(size) for size in pipeline.manifest.sizes)
    for one in (pipeline, first, wide, several):
        assert [one[name].component.owner for name in ("unet", "text_encoder")] == ["unet", "text_encoder"]
    assert loaded == ["unet", "text_encoder", "unet_192x128", "unet_128x128_batch3", "text_encoder_128x128_batch3"]
    wide.release("unet")
    assert [one["unet"].component.name for one in (wide, first)] == ["unet_192x128", "unet"]
    assert loaded[5:] == ["unet_192x128"]
    assert pipeline.manifest.components["unet_192x128"].sharing == UNETS


@pytest.mark.mindspore
def test_a_weight_that_differs_lies_in_a_file_of_its_own(
    painted: Painted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, Spilling("unet_192x128"))
    out = compiled(painted, tmp_path / "sizes", "--component", "unet", "--verify", "full")
    known = components(out)
    certified = json.loads((out / "verification.json").read_bytes())["components"]
    assert [(one["name"], one["level"]) for one in certified] == [(name, "full") for name in UNETS]
    assert known["unet_192x128"]["variables"] == ["unet_variables/data_0", "unet_192x128_variables/data_0"]
    first, other = values(out, "unet_graph.mindir"), values(out, "unet_192x128_graph.mindir")
    differing = [name for name in first if first[name] != other[name]]
    assert len(differing) == 1
    doubled = np.frombuffer(first[differing[0]], np.float16) * np.float16(2)
    np.testing.assert_array_equal(np.frombuffer(other[differing[0]], np.float16), doubled)


@pytest.mark.mindspore
def test_a_place_that_holds_another_weight_is_found(
    painted: Painted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, Spilling("unet_192x128"))
    monkeypatch.setattr(shared_weights._Same, "__call__", lambda self, name: True)
    done = inside(
        "compile", painted.source, "-o", tmp_path / "sizes", *SIZES, "--component", "unet", "--verify", "full"
    )
    assert done.returncode == 4, done.stderr
    assert "unet_192x128: output" in done.stderr
    assert not (tmp_path / "sizes").exists()


@pytest.mark.mindspore
def test_verified_later(painted: Painted, out: Path) -> None:
    done = inside("verify", painted.source, out, "--component", "unet_192x128", *SIZES, "--progress", "never")
    assert done.returncode == 0, done.stderr
    done = inside("verify", painted.source, out, "--component", "unet_192x128", "--progress", "never")
    assert done.returncode == 2
    assert "give every --size that it was compiled with, in order" in done.stderr
    weights = out / "unet_variables" / "data_0"
    painter.spoil(weights, slice(40, 400), 2)
    manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["outputs"]["unet_variables/data_0"]["sha256"] = digest(weights).sha256
    (out / "manifest.json").write_text(json.dumps(manifest))
    done = inside("verify", painted.source, out, "--component", "unet_192x128", *SIZES, "--progress", "never")
    assert done.returncode == 4, done.stderr


def test_a_rule_for_a_component_is_for_all_its_sizes(painted: Painted, tmp_path: Path) -> None:
    out = compiled(painted, tmp_path / "sizes", "--component", "unet", "--no-flash", "unet/*")
    sites = json.loads((out / "report.json").read_bytes())["components"]
    assert Counter(site["status"] for one in sites for site in one["sites"]) == {"kept": 3}
    assert [one["sites"][0]["id"].partition("/")[0] for one in sites] == list(UNETS)


def test_some_components_are_added_to_others(painted: Painted, tmp_path: Path) -> None:
    whole = contents(compiled(painted, tmp_path / "whole"))
    out = compiled(painted, tmp_path / "parts", "--component", "unet")
    assert set(components(out)) == set(UNETS)
    compiled(painted, out, "--exclude", "unet")
    added = contents(out)
    assert {name for name in whole if whole[name] != added.get(name)} <= {"report.html", "README.md"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--size", "128x128", "--size", "128x128"],
            "--size 128x128 calls for no graphs but those of a size before it",
        ),
        (["--size", "large"], "'large' is no size; give one such as 768x512"),
        (["--size", "64x64,64x64"], "'64x64,64x64' is no size"),
        (["--size", "64x64", "--width", "64"], "--width and --size both tell it; drop one"),
        (["--size", "64x64", "--size", "64x65"], "multiple of 8"),
        (["--size", "64x64", "--size", "32x32", "--golden"], "of one known size"),
    ],
)
def test_what_is_refused(painted: Painted, tmp_path: Path, given: list[str], said: str) -> None:
    done = inside("compile", painted.source, "-o", tmp_path / "sizes", *given)
    assert done.returncode == 2
    assert said in done.stderr.replace("\n", " ")
    assert not (tmp_path / "sizes").exists()


def test_a_graph_has_one_size(painted: Painted, tmp_path: Path) -> None:
    graph = painted.out / "unet_graph.mindir"
    done = inside("compile", graph, "-o", tmp_path / "sizes", "--size", "64x64", "--size", "32x32")
    assert done.returncode == 2
    assert "is a traced graph of one size; trace the pipeline again for several" in done.stderr
