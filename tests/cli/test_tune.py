"""`attnfuse tune` as a user has it: the policy, which compile takes, its figures, and what is refused at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attnfuse import cli, compiler
from attnfuse.compiler import CompileRequest
from attnfuse.errors import SourceError
from attnfuse.policy import read_policy
from attnfuse.tuning import jobs
from tests.cli.conftest import Answer, Command
from tests.tuning.graphs import overflowing

SOC = ("--soc", "ascend310p")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Command:
    """The command in this process, with the installed passes."""

    def answer(*arguments: str | Path) -> Answer:
        capfd.readouterr()
        code = cli.run([str(a) for a in arguments])
        said = capfd.readouterr()
        return Answer(code, said.out, said.err)

    return answer


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overflowing().write(tmp_path_factory.mktemp("source") / "unet.mindir")


def test_from_a_graph_to_a_compile_by_the_policy(run: Command, source: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    tuned = run("tune", source, "--budget", "1e-3", "-o", policy, *SOC, "--json")
    assert tuned.code == 0, tuned.err
    document = tuned.document
    assert (document["schema"], document["soc"], document["budget"]) == ("attnfuse.tuning/1", "ascend310p", 1e-3)
    (component,) = document["components"]
    assert f"unet: off by {component['error']:.2e} of 1.00e-03" in tuned.err
    assert "unet: float16, fast precision; as compile decides by itself everywhere: not finite" in tuned.err
    assert f"wrote {policy}" in tuned.err
    compiled = run("compile", source, "-o", tmp_path / "out", "--policy", policy, "--strict-policy", *SOC, "--json")
    assert compiled.code == 0, compiled.err
    (entry,) = compiled.document["components"]
    assert entry["cost"]["after"]["seconds"] == component["seconds"]
    fused = {site["id"] for site in entry["sites"] if site["status"] == "fused"}
    wanted = {site for block in component["blocks"] if block["settings"]["flash"] for site in block["sites"]}
    assert fused == wanted
    assert len(read_policy(policy).rules) == 2
    before = policy.read_bytes()
    again = run("tune", source, "--budget", "1e-3", "-o", policy, *SOC, "--progress", "never")
    assert again.code == 0
    assert policy.read_bytes() == before
    assert len(again.err.splitlines()) == 2  # its figures, and what was written


@pytest.mark.slow  # two processes that import everything
def test_worker_processes_come_to_the_same(run: Command, tmp_path: Path) -> None:
    source = overflowing(sites=2, length=16).write(tmp_path / "unet.mindir")
    for name, options in {"alone": (), "spread": ("--workers", "2", "--worker-memory", "6GiB")}.items():
        answer = run("tune", source, "--budget", "1e-3", "-o", tmp_path / name, *SOC, *options)
        assert answer.code == 0, answer.err
        assert "done here" not in answer.err
    assert (tmp_path / "spread").read_bytes() == (tmp_path / "alone").read_bytes()


def test_a_budget_that_nothing_keeps(run: Command, source: Path, tmp_path: Path) -> None:
    answer = run("tune", source, "--budget", "1e-12", "-o", tmp_path / "p.toml", *SOC, "--json")
    assert answer.code == 1
    assert "the least that can be reached is" in answer.error
    assert (answer.document["error"], answer.document["exit_code"]) == ("RequirementError", 1)
    assert not (tmp_path / "p.toml").exists()


def test_rules_that_are_given_stay(run: Command, source: Path, tmp_path: Path) -> None:
    own, policy = tmp_path / "own.toml", tmp_path / "policy.toml"
    own.write_text('[[rules]]\nmatch = "unet.blocks.0.attn1"\nflash = false\n')
    tuned = run("tune", source, "--budget", "1e-3", "--policy", own, "-o", policy, *SOC, "--json")
    assert tuned.code == 0, tuned.err
    (component,) = tuned.document["components"]
    assert component["fixed"] == [{"form": "the formula", "modules": ["blocks.0.attn1"]}]
    compiled = run("compile", source, "-o", tmp_path / "out", "--policy", policy, "--strict-policy", *SOC, "--json")
    assert compiled.code == 0, compiled.err
    (entry,) = compiled.document["components"]
    assert entry["cost"]["after"]["seconds"] == component["seconds"]
    (site,) = [site for site in entry["sites"] if site["id"] == "unet/blocks.0.attn1"]
    assert (site["status"], site["rule"]) == ("kept", 'policy.toml rules[2] (match = "unet.blocks.0.attn1")')


def test_what_is_tuned_is_what_compile_would_be_asked_for(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[CompileRequest] = []

    def refused(request: CompileRequest, **_: object) -> None:
        asked.append(request)
        raise SourceError("asked.")

    monkeypatch.setattr(jobs, "tune_source", refused)
    monkeypatch.setattr(compiler, "inspect", lambda request, _: refused(request))
    options = (
        *("--component", "unet", "--dtype", "float32", "--batch", "2", "--height", "64", "--sequence-length", "99"),
        *("--ip-adapter", "a.safetensors@0.5", "--vae", "other", "--variant", "fp16", "--lora", "b.safetensors:0.5"),
        *("--textual-inversion", "c.safetensors", "--offline", "--strict-config", "--trace", "whole", *SOC),
        *("--cache-dir", tmp_path / "cache"),
    )
    assert run("tune", "pipeline", "--budget", "1e-3", "-o", tmp_path / "p.toml", *options).code == 3
    assert run("inspect", "pipeline", *options, "--jobs", "1").code == 3
    tuned, inspected = asked
    assert tuned == inspected
    assert tuned.fetch.ip_adapter == "a.safetensors@0.5"


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf", "small"])
def test_a_budget_is_a_positive_number(run: Command, source: Path, tmp_path: Path, budget: str) -> None:
    answer = run("tune", source, "--budget", budget, "-o", tmp_path / "p.toml")
    assert answer.code == 2
    assert f"{budget!r} is no relative error; give a number above 0, such as 1e-3." in answer.error


def test_what_is_refused_before_the_work(run: Command, source: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[defaults]\nflash = false\n")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "few.npz", sample=np.zeros((2, 64, 64), np.float32))
    refused = [
        (2, "was not written by attnfuse tune; name another file", ("-o", own)),
        (2, "is a folder; name a file", ("-o", tmp_path)),
        (2, "cannot be written", ("-o", tmp_path / "nowhere" / "p.toml")),
        (2, "would lie in or over", ("-o", source)),
        (2, "would lie in or over", ("-o", own, "--policy", own)),
        (2, "nowhere.toml cannot be read", ("--policy", tmp_path / "nowhere.toml")),
        (2, "lacks context", ("--data", tmp_path / "few.npz")),
        (3, "is no .npz file", ("--data", tmp_path / "text.npz")),
        (3, "does not exist", ("--data", tmp_path / "nowhere.npz")),
        (2, "drop --dynamic", ("--dynamic", "batch")),
        (2, "--scheduler needs a cache that this machine and the workers reach", ("--scheduler", "tcp://127.0.0.1:1")),
        (2, "--worker-memory is for --workers of two and more", ("--worker-memory", "64MiB")),
        (2, "are for --scheduler tls://", ("--tls-key", "key.pem")),
        (2, "has no component 'vae'", ("--component", "vae")),
    ]
    for code, said, options in refused:
        output = () if "-o" in options else ("-o", tmp_path / "p.toml")
        answer = run("tune", source, "--budget", "1e-3", *output, *options)
        assert (answer.code, said in answer.error) == (code, True), answer.err
    answer = run("tune", tmp_path / "nowhere.mindir", "--budget", "1e-3", "-o", tmp_path / "p.toml")
    assert answer.code == 3
    assert own.read_text() == "[defaults]\nflash = false\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.npz", "own.toml", "text.npz"]


def test_errors_are_one_sentence_in_json(run: Command, source: Path, tmp_path: Path) -> None:
    answer = run("tune", source, "--budget", "1e-3", "--data", tmp_path / "x", "-o", tmp_path / "p", "--json")
    assert json.loads(answer.out)["error"] == "SourceError"
