"""What a worker does with a unit of tracing, and what it says where it cannot."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from attnfuse.cache.digests import KnownDigests
from attnfuse.cache.traces import Traces
from attnfuse.compiler import CompileRequest, prepare
from attnfuse.errors import TraceError
from attnfuse.farm.local import LocalWorkers
from attnfuse.farm.perform import perform
from attnfuse.farm.traces import TraceRequest, TraceResult, block_units, trace_unit
from attnfuse.farm.units import Answer, Unit
from attnfuse.serialisation import from_json, parse_json
from attnfuse.store.kinds import Kind
from attnfuse.store.places import KEY_VARIABLE
from attnfuse.store.store import Store
from attnfuse.tracing.contract import ComponentPlan, TracedComponent
from tests.farm.conftest import write_pipeline
from tests.support.fluxes import write_flux
from tests.support.tracer import Tracer, stand_in


@pytest.fixture
def unit(tracer: Tracer, tmp_path: Path) -> Unit:
    write_pipeline(tmp_path / "in")
    prepared = prepare(CompileRequest(source=str(tmp_path / "in"), cache=tmp_path / "cache"))
    assert prepared.traces is not None
    (plan,) = prepared.plans
    key = prepared.traces.key(plan)
    assert key is not None
    return trace_unit(plan, key, prepared.traces.store)


def done(text: str) -> Answer:
    return parse_json(Answer, perform(text))


def result(text: str) -> TraceResult:
    answer = done(text)
    assert not answer.error
    return from_json(TraceResult, answer.result)


def asked(unit: Unit) -> TraceRequest:
    return from_json(TraceRequest, unit.request)


def kept(tmp_path: Path, unit: Unit) -> bool:
    store = Store(tmp_path / "cache")
    traces, request = Traces(store, KnownDigests(store)), asked(unit)
    key = traces.key(request.whole_plan)
    return key is not None and key.key == request.key and traces.load(key, request.whole_plan, tmp_path) is not None


def test_a_unit_is_a_text_that_says_it_all(unit: Unit, tmp_path: Path) -> None:
    assert parse_json(Unit, unit.text) == unit
    assert asked(unit).plan.folder.is_absolute()
    assert json.loads(unit.text)["schema"] == "attnfuse.unit/1"
    assert unit.digest != replace(unit, place=str(tmp_path)).digest, "a trace in another cache is another unit"


def test_a_trace_is_made_once(unit: Unit, tracer: Tracer, tmp_path: Path) -> None:
    first = result(unit.text)
    assert (first.made, first.seconds) == (True, 1.0)
    assert result(unit.text) == TraceResult()
    assert tracer.traced == ["unet"]
    assert kept(tmp_path, unit)


def test_a_worker_with_other_files_says_so(unit: Unit, tracer: Tracer) -> None:
    folder = asked(unit).plan.folder
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    assert "would make another trace, as these differ there: files" in done(unit.text).error
    config.unlink()
    config.parent.rename(config.parent.with_name("elsewhere"))
    assert f"cannot read {folder}, or has no MindSpore" in done(unit.text).error
    assert tracer.traced == []


def test_a_worker_that_is_older_than_what_it_would_trace_with_says_so(unit: Unit, tmp_path: Path) -> None:
    os.utime(tmp_path / "sources" / "module.py")
    assert "start it again" in done(unit.text).error


def test_what_cannot_be_traced_is_told(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(plan: ComponentPlan, work: Path) -> TracedComponent:
        raise TraceError("component unet cannot be traced: not today.")

    stand_in(monkeypatch, refuse)
    assert done(unit.text) == Answer("component unet cannot be traced: not today")


def test_a_worker_signs_with_its_own_key(unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("a key of at least sixteen bytes")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "key"))
    store = Store(tmp_path / "cache", tmp_path / "key")
    unit = replace(unit, signer=store.signer)
    assert result(unit.text).made
    signed = Traces(store, KnownDigests())
    key = signed.key(asked(unit).whole_plan)
    assert key is not None
    assert signed.is_kept(key)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "none"))
    monkeypatch.setattr("attnfuse.farm.perform._known", {})
    assert "the key file" in done(unit.text).error


@pytest.mark.slow
@pytest.mark.mindspore
def test_what_traces_a_share_of_the_blocks_leaves_the_rest_to_the_trace(tmp_path: Path) -> None:
    write_flux(tmp_path / "a", num_layers=7, num_single_layers=7)  # two kinds of block

    def unit_in(cache: str) -> Unit:
        prepared = prepare(CompileRequest(source=str(tmp_path / "a"), cache=tmp_path / cache))
        assert prepared.traces is not None
        (plan,) = prepared.plans
        key = prepared.traces.key(plan)
        assert key is not None
        return trace_unit(plan, key, prepared.traces.store)

    def entries(cache: str, kind: Kind) -> dict[str, bytes | None]:
        store = Store(tmp_path / cache)
        return {one.key: store.get(kind, one.key) for one in store.listed() if one.kind == kind}

    alone, shared = unit_in("alone"), unit_in("shared")
    with LocalWorkers(1) as workers:
        answers = dict(workers.perform({"alone": alone.text}))
        (beside,) = block_units(shared, 1)
        answers |= dict(workers.perform({"beside": beside.text}))
        answers |= dict(workers.perform({"shared": shared.text}))
        answers |= dict(workers.perform({"late": block_units(shared, 2)[1].text}))
    assert not any(answer.error for answer in answers.values()), answers
    made = {name: from_json(TraceResult, answer.result).blocks for name, answer in answers.items()}
    assert made["alone"] == len(entries("alone", Kind.BLOCKS))
    assert 0 < made["beside"] < made["alone"]
    assert made["beside"] + made["shared"] == made["alone"]
    assert made["late"] == 0, "the trace is there"
    # What is traced of a block tells where, and in which order; what is made of it does not.
    assert entries("shared", Kind.BLOCKS).keys() == entries("alone", Kind.BLOCKS).keys()
    assert len(entries("alone", Kind.GRAPHS)) == 1
    assert entries("shared", Kind.GRAPHS) == entries("alone", Kind.GRAPHS)
