"""`attnfuse explain`: a site told in full, the list of sites, and a site that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse import cli
from tests.support.graphs import transformer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return transformer(sites=2).write(tmp_path / "unet.mindir")


def test_a_fused_site_is_told_in_full(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", str(model), "unet/blocks.0.attn1", "--progress", "never"]) == 0
    said = capfd.readouterr().out
    lines = said.splitlines()
    assert lines[0] == "site      unet/blocks.0.attn1"
    assert lines[1] == "status    fused: fused"
    for needed in ("region", "identities", "proved", "  softmax_axis: ", "  private: ", "  query: scale.multiply"):
        assert any(line.startswith(needed) for line in lines), needed
    assert " = Softmax(" in said
    refused = lines[lines.index("not taken") + 1]
    assert refused == "  FlashAttentionScore: the runtime lite takes PromptFlashAttention (target.no_operator)"


def test_the_end_of_an_id_is_enough(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", str(model), "attn2", "--progress", "never"]) == 0
    assert capfd.readouterr().out.startswith("site      unet/blocks.0.attn2\n")


@pytest.mark.parametrize("site", ["unet.blocks.0.attn2", "unet/blocks/0/attn2", "0/attn2", "blocks.0/attn2"])
def test_slashes_and_dots_are_alike(model: Path, site: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", str(model), site, "--progress", "never"]) == 0
    assert capfd.readouterr().out.startswith("site      unet/blocks.0.attn2\n")


@pytest.mark.parametrize("pattern", ["unet/blocks.0.attn2", "unet.blocks.0.attn2"])
def test_a_policy_taken_strictly(model: Path, pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["inspect", str(model), "--strict-policy", "--progress", "never", "--no-flash"]
    assert cli.run([*command, pattern]) == 0
    capfd.readouterr()
    assert cli.run([*command, pattern.replace("attn2", "atn2")]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: --no-flash ")
    assert said.endswith(" matches no site; did you mean 'unet.blocks.0.attn2'? (--strict-policy).\n")
    assert cli.run(["inspect", str(model), "--exclude", "unet", "--progress", "never"]) == 2
    assert "--exclude is for the components of a pipeline" in capfd.readouterr().err


def test_without_a_site_all_are_listed(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", str(model), "--progress", "never"]) == 0
    assert [line.split() for line in capfd.readouterr().out.splitlines()] == [
        ["fused", "fused", "unet/blocks.0.attn1"],
        ["fused", "fused", "unet/blocks.0.attn2"],
    ]


def test_a_kept_site_names_the_rule(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", str(model), "attn1", "--no-flash", "unet.blocks.0.attn1", "--progress", "never"]) == 0
    said = capfd.readouterr().out
    assert "status    kept: policy.flash_off" in said
    assert "rule      --no-flash unet.blocks.0.attn1" in said
    assert said.splitlines()[-2:] == [
        "",
        "to match  flash = true in a later rule, or without the one that `attnfuse policy show` names",
    ]
    assert cli.run(["explain", str(model), "attn1", "--soc", "910A", "--progress", "never"]) == 0
    assert "\nto match  another --soc, if that is your device: docs/which-soc.md" in capfd.readouterr().out


def test_an_unknown_site_is_a_usage_error(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", str(model), "blocks.0.attn3", "--progress", "never"]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: there is no single site 'blocks.0.attn3' (the nearest is unet/blocks.0.attn")
    assert said.err.count("\n") == 1


def test_an_output_tells_what_was_decided_then(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert cli.run(["compile", str(model), "-o", out, "--no-flash", "unet.blocks.0.attn1", "--progress", "never"]) == 0
    capfd.readouterr()
    assert cli.run(["explain", out]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == ["kept", "fused"]
    assert cli.run(["explain", out, "attn1", "--component", "unet"]) == 0
    assert "rule      --no-flash unet.blocks.0.attn1" in capfd.readouterr().out
    assert cli.run(["explain", out, "--soc", "310P3"]) == 2
    assert "--soc is for a source, and " in capfd.readouterr().err
    assert cli.run(["explain", out, "--component", "vae"]) == 2
    assert "has no component 'vae'; known: unet." in capfd.readouterr().err


def test_what_the_target_decides_is_no_rule(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.run(["compile", str(model), "-o", str(out), "--progress", "never"]) == 0
    capfd.readouterr()
    graph, other = str(out / "unet.mindir"), ("--soc", "ascend910", "--progress", "never")
    assert cli.run(["explain", graph, "attn1", *other]) == 0
    assert "rule      none: the target decides here" in capfd.readouterr().out
    assert cli.run(["inspect", graph, *other]) == 0
    told = capfd.readouterr().err
    assert "warning: unet: of the source, 2 fused nodes did not stay fused: PromptFlashAttention wants" in told
    assert cli.run(["inspect", graph, "--no-flash", "*", "--progress", "never"]) == 0
    assert "did not stay fused" not in capfd.readouterr().err  # as was asked for
