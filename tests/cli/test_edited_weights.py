"""Weights that a pass edits, through whole compiles: what is written where, taken over, verified, told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from attnfuse import pass_manager
from attnfuse.ir.builder import Builder
from attnfuse.ir.dead_code import eliminate_dead_code
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.edits import Pad, WeightEdits
from attnfuse.mindir.external import parameter_name, parameters
from attnfuse.pass_manager import Context
from attnfuse.tracing.demo import write_json
from attnfuse.verify.inference import inferred_types
from tests.cli.conftest import Command, tree
from tests.support.checkpoints import SD21_UNET
from tests.support.graphs import transformer
from tests.support.split import write_split
from tests.support.toy_pass import ToyPass
from tests.support.tracer import Tracer, stand_in, write_weights

EDITS = WeightEdits(pads=(Pad(0, 4, 8),))
OWN, EDITED = "blocks.0.attn1.to_q.weight", "blocks.0.attn1.to_q.weight__pad_0_4_8"
ENTIRE = ("--verify", "full")


@dataclass(frozen=True)
class Widen:
    """Pads the heads of the first query in its weight, and takes the zeros off behind it."""

    id: ClassVar[str] = "widen"
    order: ClassVar[int] = 20
    summary: ClassVar[str] = "pads heads"

    layer: str = "blocks.0.attn1.to_q"

    def run(self, model: Model, context: Context) -> bool:
        edit, replaced = Edit(model), list[str]()
        for node in model.nodes:
            load = model.producer(node.inputs[1]) if node.op == "Dense" else None
            if load is None or not load.inputs[0].endswith(f"{self.layer}.weight"):
                continue
            b = Builder(edit, node, "wide")
            batch, length, width = b.type_of(node.name).dims
            wide = b.op("Dense", node.inputs[0], b.weight(load.name, EDITS), node.inputs[2])
            heads = b.take_last(b.reshape(wide, (batch, length, 4, width // 4 + 8)), width // 4)
            b.finish(b.reshape(heads, (batch, length, width)))
            replaced.append(load.name)
        edit.apply()
        eliminate_dead_code(model, replaced, set())
        return True


@pytest.fixture(autouse=True)
def passes(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The toy pass and `Widen`; another one when it is called."""
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))

    def use(layer: str = Widen.layer) -> None:
        monkeypatch.setattr(pass_manager, "discover", lambda: (ToyPass(), Widen(layer)))

    use()
    return use


def weights_of(graph: Path) -> dict[str, bytes]:
    """Every weight of a written graph by name, as MindSpore would find it."""
    model = codec.parse(codec.read_bytes(graph), "x")
    found = {}
    for parameter in parameters(model):
        at = parameter.external_data
        data = (graph.parent / at.location).read_bytes() if at.location else b""
        held = data[at.offset : at.offset + at.length] if data else parameter.raw_data
        found[parameter_name(parameter)] = held
    return found


def check_weights(graph: Path, name: str = OWN) -> None:
    """The result's weights are the source's, but for the one that has zeros behind each of four heads."""
    source = {parameter_name(p): p for p in parameters(transformer("unet").build())}
    found = weights_of(graph)
    wide = np.frombuffer(found.pop(f"{name}__pad_0_4_8"), np.float16).reshape(4, 24, 64)
    own = np.frombuffer(source.pop(name).raw_data, np.float16).reshape(4, 16, 64)
    np.testing.assert_array_equal(wide[:, :16], own)
    assert not wide[:, 16:].any()
    assert found == {other: p.raw_data for other, p in source.items()}


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline whose UNet is traced to the same graph, with its checkpoint."""
    stand_in(monkeypatch, Tracer())
    folder = tmp_path / "in"
    (folder / "unet").mkdir(parents=True)
    write_json(folder / "unet" / "config.json", SD21_UNET)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    write_json(folder / "model_index.json", index)
    write_weights(folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def test_inline_weights_stay_inline(command: Command, tmp_path: Path) -> None:
    source = transformer("unet").write(tmp_path / "unet.mindir")
    answer = command("compile", source, "-o", tmp_path / "out", *ENTIRE)
    assert answer.code == 0, answer.err
    assert set(tree(tmp_path / "out")) == {
        *("unet.mindir", "manifest.json", "report.json", "report.html", "verification.json"),
        *("README.md", "configs/unet.cfg", "convert.sh"),
    }  # fmt: skip
    check_weights(tmp_path / "out" / "unet.mindir")


def test_edited_weights_lie_beside_adopted_ones(command: Command, tmp_path: Path) -> None:
    source = write_split(tmp_path / "in")
    answer = command("compile", source, "-o", tmp_path / "out", *ENTIRE)
    assert answer.code == 0, answer.err
    check_weights(tmp_path / "out" / "unet_graph.mindir")
    adopted = source.parent / "unet_variables" / "data_0"
    assert adopted.samefile(tmp_path / "out" / "unet_variables" / "data_0")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    variables = ["unet_variables/data_0", "unet_variables/edited_0"]
    assert manifest["components"][0]["variables"] == variables
    assert set(variables) < manifest["outputs"].keys()
    again = command("compile", tmp_path / "out" / "unet_graph.mindir", "-o", tmp_path / "again")
    assert again.code == 0, again.err
    assert (tmp_path / "again" / "unet_variables" / "edited_0").is_file()  # the first one's, adopted


def test_one_output_is_compiled_again_for_another_weight(
    command: Command, passes: Callable[..., None], tmp_path: Path
) -> None:
    source = write_split(tmp_path)
    out = tmp_path / "fused.mindir"
    for layer in ("blocks.0.attn1.to_q", "blocks.0.attn2.to_q"):
        passes(layer)
        assert command("compile", source, "-o", out).code == 0
        check_weights(out, f"{layer}.weight")
    assert (tmp_path / "fused_variables" / "edited_0").is_file()
    passes("none")
    assert command("compile", source, "-o", out).code == 0
    assert not (tmp_path / "fused_variables" / "edited_0").exists()


def test_a_traced_component_is_streamed_with_its_zeros(command: Command, pipeline: Path, tmp_path: Path) -> None:
    answer = command("compile", pipeline, "-o", tmp_path / "out", *ENTIRE)
    assert answer.code == 0, answer.err
    check_weights(tmp_path / "out" / "unet_graph.mindir")
    model = codec.parse((tmp_path / "out" / "unet_graph.mindir").read_bytes(), "x")
    assert {p.external_data.location for p in parameters(model)} == {"unet_variables/data_0"}
    command("compile", pipeline, "-o", tmp_path / "again", *ENTIRE)
    first, second = tree(tmp_path / "out"), tree(tmp_path / "again")
    with_figures = ("report.html", "verification.json")
    assert {n: d for n, d in first.items() if n not in with_figures} == {
        n: d for n, d in second.items() if n not in with_figures
    }
    # What was verified is of the same files, and is kept where nothing is verified.
    kept = command("compile", pipeline, "-o", tmp_path / "out")
    assert (kept.code, "was dropped" in kept.err) == (0, False)
    assert tree(tmp_path / "out")["verification.json"] == first["verification.json"]


def test_what_stands_is_taken_over(
    command: Command, passes: Callable[..., None], pipeline: Path, tmp_path: Path
) -> None:
    graph = tmp_path / "out" / "unet_graph.mindir"
    for layer in ("blocks.0.attn1.to_q", "blocks.0.attn1.to_q", "blocks.0.attn2.to_q"):
        passes(layer)
        answer = command("compile", pipeline, "-o", tmp_path / "out", "--cache-dir", tmp_path / "cache")
        assert answer.code == 0, answer.err
        check_weights(graph, f"{layer}.weight")


def test_a_weightless_graph_is_inspected(command: Command, tmp_path: Path) -> None:
    source = transformer("unet", weights=False).write(tmp_path / "unet.mindir")
    assert command("inspect", source).code == 0


@pytest.fixture
def misplaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros are written in front of each head's rows instead of behind them."""
    right = WeightEdits.sources

    def wrong(self: WeightEdits, dims: tuple[int, ...]) -> list[npt.NDArray[np.int64]]:
        first, *others = right(self, dims)
        return [np.roll(first, 8), *others]

    monkeypatch.setattr(WeightEdits, "sources", wrong)


@pytest.mark.usefixtures("misplaced")
@pytest.mark.parametrize("kind", ["beside", "traced"])
def test_zeros_in_the_wrong_place_are_found(kind: str, command: Command, pipeline: Path, tmp_path: Path) -> None:
    source = write_split(tmp_path / "beside") if kind == "beside" else pipeline
    answer = command("compile", source, "-o", tmp_path / "out", *ENTIRE)
    assert answer.code == 4, answer.err
    assert "the mathematics is another" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("misplaced")
def test_in_the_graph_itself_they_are_found_without_a_run(command: Command, tmp_path: Path) -> None:
    answer = command("compile", transformer("unet").write(tmp_path / "unet.mindir"), "-o", tmp_path / "out")
    assert answer.code == 70
    assert f"parameter {EDITED} holds other values than what it is made of gives" in answer.err
