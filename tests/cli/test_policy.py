"""`attnfuse policy show` and `attnfuse policy schema`, with the installed passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse import cli, pass_manager
from attnfuse_passes.fuse import Fuse
from tests.cli.conftest import Answer, Command
from tests.support.graphs import transformer

RULES = """
[[rules]]
match = "*"
attention = "self"
force_cast_dtype = "bfloat16"

[[rules]]
match = "*.attn2"
flash = false
assume_no_fully_masked_rows = true

[[rules]]
match = "*"
min_sequence_length = 100000
flash = false
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setattr(pass_manager, "discover", lambda: (Fuse(),))

    def answer(*arguments: str | Path) -> Answer:
        capfd.readouterr()
        code = cli.run([str(a) for a in arguments])
        said = capfd.readouterr()
        return Answer(code, said.out, said.err)

    return answer


def show(run: Command, tmp_path: Path, *options: str) -> Answer:
    graph = transformer().write(tmp_path / "unet.mindir")
    rules = tmp_path / "mine.toml"
    rules.write_text(RULES)
    before = graph.read_bytes()
    answer = run("policy", "show", graph, "--policy", rules, *options)
    assert graph.read_bytes() == before
    return answer


def test_show_tells_decision_and_rule_of_every_site(run: Command, tmp_path: Path) -> None:
    answer = show(run, tmp_path, "--json")
    assert answer.code == 0
    assert answer.document["schema"] == "attnfuse.policy-decisions/2"
    sites = answer.document["sites"]
    assert len(sites) > 1
    for entry in sites:
        site = entry["decision"]
        own = entry["facts"]["attention"] == "self"
        assert entry["id"].startswith("unet/")
        assert site["force_cast_dtype"] == ("bfloat16" if own else "float16")
        assert site["force_cast_dtype_rule"] == ('mine.toml rules[0] (match = "*")' if own else "default")
        second = entry["id"].endswith(".attn2")
        assert site["flash"] is not second
        assert site["flash_rule"] == ('mine.toml rules[1] (match = "*.attn2")' if second else "default")
        assert site["assume_no_fully_masked_rows"] is second
    assert 'warning: the policy\'s mine.toml rules[2] (match = "*") matches no site' in answer.err


def test_show_for_people(run: Command, tmp_path: Path) -> None:
    answer = show(run, tmp_path, "--force-cast-dtype", "none", "--progress", "never")
    lines = answer.out.splitlines()
    assert lines
    assert all("keep what is not 16 bits (--force-cast-dtype none); " in line for line in lines)
    assert any(
        "flash off (mine.toml rules[1]" in line and "no fully masked rows assumed" in line for line in lines
    ) == any(".attn2:" in line for line in lines)


def test_schema_is_one_json_document(run: Command) -> None:
    answer = run("policy", "schema")
    assert answer.code == 0
    assert answer.err == ""
    document = json.loads(answer.out)
    assert document["$schema"].startswith("https://json-schema.org/")
    assert document["$id"] == "attnfuse.policy/2"
    assert document["title"] == "attnfuse policy"
