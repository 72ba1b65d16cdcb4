"""The certificate: what it says of the files, and what becomes of files that are others now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse import cli
from attnfuse.errors import SourceError, VerificationError
from attnfuse.verify import Verification, check_certificate, verify_component
from attnfuse.verify.inference import inferred_types
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
