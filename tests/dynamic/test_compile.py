"""compile() of components for any batch: what is written, and what one that cannot be does to the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from attnfuse import compiler
from attnfuse.compiler import CompileRequest, inspect
from attnfuse.component import Component
from attnfuse.errors import TraceError
from attnfuse.ir.graph import Model
from attnfuse.lora.given import Lora
from attnfuse.mindir import codec
from attnfuse.preflight import ComponentTypes
from attnfuse.progress import Progress
from attnfuse.sources import Load, PipelineSource
from attnfuse.tracing.contract import DYNAMIC_BATCHES, ComponentPlan, ShapeOptions
from attnfuse.tracing.plan import plan_all
from tests.dynamic.graphs import Make, attention, graph
from tests.support.graphs import GraphBuilder, operators
from tests.support.traces import demo_folder

__all__ = ["demo_folder"]


@dataclass(frozen=True)
class _Source:
    """Components for any batch, of graphs made by hand."""

    makes: Mapping[str, Make]
    single_file: bool = False
    paths: Iterable[Path] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    least_bytes: int = 0
    plans: tuple[ComponentPlan, ...] = ()
    loras: Sequence[Lora] = ()
    bases: Sequence[str] = ()

    @property
    def owners(self) -> tuple[str, ...]:
        return self.names

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.makes)

    @property
    def order(self) -> tuple[str, ...]:
        return self.names

    @property
    def component_types(self) -> Mapping[str, ComponentTypes]:
        return {name: ComponentTypes(name) for name in self.makes}

    def carried(self) -> None: ...

    @contextmanager
    def opened(self, work: Path, jobs: int) -> Iterator[Load]:
        yield self._load

    def _load(self, name: str, progress: Progress, *, weights: bool) -> Component:
        batches = {batch: codec.serialise(graph(self.makes[name], batch)) for batch in DYNAMIC_BATCHES}
        data = next(iter(batches.values()))
        return Component(
            name=name, owner=name, where=name, data=data, graph_name=f"{name}_graph.mindir", batches=batches
        )


def _sliced(g: GraphBuilder, batch: int) -> str:
    return g.strided_slice(g.input("x", (batch, 3)), (1, 0), (batch, 2))


def test_written_with_the_batch_open(tmp_path: Path) -> None:
    outcome = compiler.compile(CompileRequest(source=_Source({"net": attention}), output=tmp_path / "out"))
    assert outcome.written
    model = Model(codec.parse((tmp_path / "out" / "net_graph.mindir").read_bytes(), "net"))
    assert "PromptFlashAttention" in operators(model)
    (entry,) = json.loads((tmp_path / "out" / "manifest.json").read_bytes())["components"]
    assert [one["shape"] for one in entry["inputs"]] == [[-1, 6, 8], [1]]
    (component,) = json.loads((tmp_path / "out" / "report.json").read_bytes())["components"]
    assert component["sites"][0]["query_shape"] == [-1, 6, 32]
    config = (tmp_path / "out" / entry["config"]).read_text()
    names = [one["name"] for one in entry["inputs"]]
    assert f"\ninput_shape={names[0]}:-1,6,8;{names[1]}:1\ndynamic_batch_size=2,4,8\n" in config


def test_one_that_cannot_be_written_does_not_lose_the_others(tmp_path: Path) -> None:
    request = CompileRequest(source=_Source({"bad": _sliced, "net": attention}), output=tmp_path / "out")
    for outcome in (compiler.compile(request), inspect(request)):
        assert [component.name for component in outcome.components] == ["net"]
        (failed,) = outcome.report.failed
        assert failed.name == "bad"
        assert failed.reason.startswith("component bad cannot be written for any batch: StridedSlice ")
        assert failed.reason.endswith("once for each batch")
    assert sorted(path.name for path in (tmp_path / "out").glob("*_graph.mindir")) == ["net_graph.mindir"]


def test_where_none_can_be_written_it_is_an_error(tmp_path: Path) -> None:
    request = CompileRequest(source=_Source({"bad": _sliced}), output=tmp_path / "out")
    for action in (compiler.compile, inspect):
        with pytest.raises(TraceError, match="component bad cannot be written for any batch"):
            action(request)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize("component", ["unet", "vae_decoder", "vae_encoder", "text_encoder"])
def test_the_demo(demo_folder: Path, tmp_path: Path, component: str) -> None:
    planned = plan_all(demo_folder, "float16", ShapeOptions(dynamic="batch"), [component])
    source = PipelineSource(demo_folder, planned)
    outcome = compiler.compile(CompileRequest(source=source, output=tmp_path / "out", verify="full"))
    assert outcome.verification is not None
    assert outcome.verification.findings == ()
    assert outcome.written
    totals = outcome.report.totals
    assert totals.fused == totals.sites == {"unet": 32, "text_encoder": 12}.get(component, 1)
    assert totals.unsupported == 0
