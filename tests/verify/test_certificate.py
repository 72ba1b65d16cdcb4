"""The certificate: what it says of the files, and what becomes of files that are others now."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnfuse import cli
from attnfuse.errors import SourceError, VerificationError
from attnfuse.standing import says_more
from attnfuse.verify import (
    ComponentVerification,
    OutputFigures,
    SiteFigures,
    Verification,
    check_certificate,
    verify_component,
)
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.result import ComparedFile, fault_of
from tests.support.graphs import transformer
from tests.support.split import write_split


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate beside a graph with its weights, of that graph against a copy elsewhere."""
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))
    original, fused = write_split(tmp_path / "in"), write_split(tmp_path / "out")
    result = verify_component(name="unet", original=original, fused=fused, level="static", seed=0, work=tmp_path)
    path = tmp_path / "out" / "verification.json"
    path.write_text(json.dumps(Verification((result,)).to_json()))
    return path


def test_it_names_every_file_of_both_sides(certified: Path) -> None:
    document = json.loads(certified.read_bytes())
    (component,) = document["components"]
    for side in ("original", "fused"):
        assert [file["name"] for file in component[side]] == ["unet_graph.mindir", "unet_variables/data_0"]
        assert all(len(file["sha256"]) == 64 and file["bytes"] > 0 for file in component[side])
    assert document["attnfuse"]
    assert str(certified.parent.parent) not in certified.read_text()


def test_unchanged_files_hold(certified: Path) -> None:
    assert check_certificate(certified).files == 2
    folders = certified.parent.parent / "in", certified.parent
    assert check_certificate(certified, *(folder / "unet_graph.mindir" for folder in folders)).files == 4


@pytest.mark.parametrize("name", ["unet_graph.mindir", "unet_variables/data_0"])
@pytest.mark.parametrize("side", ["in", "out"])
def test_a_changed_file_is_told(certified: Path, side: str, name: str) -> None:
    file = certified.parent.parent / side / name
    data = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    graphs = [certified.parent.parent / s / "unet_graph.mindir" for s in ("in", "out")]
    with pytest.raises(VerificationError, match="is not what"):
        check_certificate(certified, *graphs)
    if side == "out":
        with pytest.raises(VerificationError, match="is not what was verified"):
            check_certificate(certified)


def test_a_missing_file_is_told(certified: Path) -> None:
    (certified.parent / "unet_variables" / "data_0").unlink()
    with pytest.raises(VerificationError, match="data_0 cannot be read: No such file"):
        check_certificate(certified)


def test_a_verification_that_failed_certifies_nothing(certified: Path) -> None:
    document = json.loads(certified.read_bytes())
    document["components"][0]["passed"] = False
    certified.write_text(json.dumps(document))
    with pytest.raises(VerificationError, match="records a failed verification of unet"):
        check_certificate(certified)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "attnfuse.report/1", "components": []}', "\x00"])
def test_what_is_no_certificate_is_a_source_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SourceError, match="is no"):
        check_certificate(tmp_path / "x.json")
    with pytest.raises(SourceError, match="cannot be read"):
        check_certificate(tmp_path / "y.json")


def test_a_certificate_of_another_schema_is_named(certified: Path) -> None:
    certified.write_text(certified.read_text().replace("attnfuse.verification/2", "attnfuse.verification/1"))
    with pytest.raises(
        SourceError, match=r"no certificate of attnfuse\.verification/2: it is attnfuse\.verification/1; "
    ):
        check_certificate(certified)


def test_a_document_that_is_no_object_is_told(certified: Path) -> None:
    certified.write_text("[]")
    with pytest.raises(SourceError, match=r"attnfuse\.verification/2: the whole: Input should be"):
        check_certificate(certified)


@pytest.mark.parametrize("name", ["../in/unet_graph.mindir", "/etc/hostname"])
def test_it_reaches_nothing_outside_its_folder(certified: Path, name: str) -> None:
    document = json.loads(certified.read_bytes())
    document["components"][0]["fused"][1]["name"] = name
    certified.write_text(json.dumps(document))
    with pytest.raises(SourceError, match="no path below the graph's folder"):
        check_certificate(certified)


def test_what_was_not_verified_is_told_again(certified: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document = json.loads(certified.read_bytes())
    document["components"][0]["not_verified"] = ["Invented CNode_1:1: no rule for this operator"]
    certified.write_text(json.dumps(document))
    assert cli.run(["verify", "--certificate", str(certified)]) == 5
    assert "NOT VERIFIED then: unet: Invented CNode_1:1: no rule" in capfd.readouterr().err


FIGURES = OutputFigures(
    output="sample",
    shape=(2, 3),
    fused_in_float64=1e-7,
    tolerance_in_float64=7e-6,
    fused=1e-3,
    max_abs=0.1,
    original=1e-3,
    baseline=1e-3,
    tolerance=1.2e-3,
    not_finite=0,
)
SITE = SiteFigures(module="m", compute_dtype="float16", largest_score=1.0, drawn={"mixed": 1e-7}, figures=FIGURES)
FILES = (ComparedFile("unet_graph.mindir", "0" * 64, 3),)
PASSED = ComponentVerification(
    name="unet", level="full", seed=0, outputs=(FIGURES,), sites=(SITE,), original=FILES, fused=FILES
)


@pytest.mark.parametrize(
    ("place", "key", "value", "why"),
    [
        (("outputs", 0), "fused", 0.5, "the figures of output sample are not within their tolerance"),
        (("outputs", 0), "fused", "nan", "the figures of output sample are not within their tolerance"),
        (("outputs", 0), "fused_in_float64", math.nan, "output"),
        (("outputs", 0), "fused", -1.0, "an error of output sample is below zero"),
        (("sites", 0, "figures"), "fused_in_float64", -1e-9, "an error of site m is below zero"),
        ((), "outputs", [], "it is of level full, and has no figures of any output"),
        (("outputs", 0), "not_finite", 3, "the figures of output sample are not within"),
        (("outputs", 0), "tolerance", None, "ComponentVerification.outputs.0.tolerance: "),
        (("outputs", 0), "tolerance", "inf", "output sample has no tolerance"),
        (("sites", 0, "figures"), "fused", 0.5, "the figures of site m are not within their tolerance"),
        (("sites", 0, "drawn"), "mixed", "nan", "an error of site m is no number"),
        ((), "findings", ["it differs"], "it has a finding: it differs"),
        ((), "level", "fullest", "ComponentVerification.level: "),
    ],
)
def test_figures_are_judged_when_they_are_read(place: tuple[str | int, ...], key: str, value: Any, why: str) -> None:
    entry = PASSED.to_json()
    assert fault_of(entry) == ""
    where = functools.reduce(lambda found, step: found[step], place, entry)
    where[key] = value
    assert why in fault_of(entry)
    if key != "mixed":  # any kind of draw may have been left out
        del where[key]
        assert fault_of(entry)


def test_what_certifies_nothing_is_told(certified: Path) -> None:
    document = json.loads(certified.read_bytes())
    document["components"][0]["outputs"] = [{**PASSED.to_json()["outputs"][0], "fused": 0.5}]
    certified.write_text(json.dumps(document))
    with pytest.raises(SourceError, match=r"certifies nothing of unet: the figures of output sample are .*; verify ag"):
        check_certificate(certified)


def test_which_of_two_says_more() -> None:
    def entry(**changes: Any) -> Any:
        return replace(PASSED, **changes).to_json()

    def data(count: int) -> tuple[ComparedFile, ...]:
        return tuple(ComparedFile(f"{n}.npz", f"{n}" * 64, 3) for n in range(count))

    weaker: list[tuple[Any, Any]] = [
        (entry(), entry(level="sampled")),
        (entry(level="sampled"), entry(level="static")),
        (entry(), entry(not_verified=("Invented",))),
        (entry(data=data(3)), entry(data=data(1))),
    ]
    for stood, fresh in weaker:
        assert says_more(stood, fresh)
        assert not says_more(fresh, stood)
    other = (ComparedFile("unet_graph.mindir", "1" * 64, 3),)
    for stood, fresh in [
        (entry(), entry()),
        (entry(), entry(seed=5)),
        (entry(), entry(data=data(1))),  # given and drawn inputs are no more and no less
        (entry(data=data(2)), entry()),
        (entry(), entry(level="static", fused=other)),
        (entry(), entry(level="static", compute={"a": "float16"})),
        (entry(never_fully_masked=("a",)), entry(level="static")),
    ]:
        assert not says_more(stood, fresh)


def test_the_command(certified: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["verify", "--certificate", str(certified)]) == 0
    assert "was written: 2 files." in capfd.readouterr().err
    graph = certified.parent / "unet_graph.mindir"
    graph.unlink()
    transformer(sites=1).write(graph)
    assert cli.run(["verify", "--certificate", str(certified)]) == 4
    assert "unet_graph.mindir is not what was verified: its digest differs." in capfd.readouterr().err
    assert cli.run(["verify"]) == 2
    assert cli.run(["verify", str(graph)]) == 3  # no output of attnfuse
    assert cli.run(["verify", str(graph), "--certificate", str(certified)]) == 2
