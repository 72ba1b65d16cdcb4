"""What a verification costs, by stage and operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest

from attnfuse import cli
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.verify.inference import inferred_types
from tests.support.graphs import transformer


def test_the_command_writes_it_and_prints_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))
    graph = transformer(sites=2, dtype=FLOAT16).write(tmp_path / "unet.mindir")
    file = tmp_path / "profile.json"
    assert cli.run(["verify", str(graph), str(graph), "--profile", str(file)]) == 0
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told["schema"] == "attnfuse.verify-profile/1"
    assert {"structure", "inference", "numbers", "sites", "restated"} <= set(told["stages"])
    assert all(cost["bytes"] > 0 for cost in told["stages"].values())
    products = [row for row in told["operators"] if row["operator"] == "Dense"]
    assert {row["run"] for row in products} == {"native", "exact"}
    assert all(row["stage"] == "numbers" and row["runs"] > 0 and row["bytes"] > 0 for row in products)
    seconds = sum(row["cpu_seconds"] for row in told["operators"] if row["stage"] == "numbers")
    assert seconds <= told["stages"]["numbers"]["cpu_seconds"] + 1
    printed = capsys.readouterr().err
    assert "largest MB" in printed
    assert "Softmax" in printed


def test_what_was_run_is_written_where_the_rest_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(inferred_types, "infer", interrupted)
    graph = transformer(sites=1, dtype=FLOAT16).write(tmp_path / "unet.mindir")
    file = tmp_path / "profile.json"
    assert cli.run(["verify", str(graph), str(graph), "--profile", str(file)]) == 130
    assert set(json.loads(file.read_text(encoding="utf-8"))["stages"]) == {"structure", "inference"}
    assert f"the profile {file} tells of what was run until here" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_before_the_long_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = transformer(sites=1, dtype=FLOAT16).write(tmp_path / "unet.mindir")
    assert cli.run(["verify", str(graph), str(graph), "--profile", str(tmp_path / "none" / "p.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert cli.run(["verify", str(graph), str(graph), "--profile", str(graph)]) == 2
    assert cli.run(["verify", str(graph), str(graph), "--max-memory", "much"]) == 2
    assert "'much' is no size; give one such as 8GiB" in capsys.readouterr().err
