"""The installed passes behind the command: the policy reaches each site, and what is kept is kept to the byte."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from attnfuse import cli
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, DType
from tests.support.graphs import transformer

NODES = {"lite": "PromptFlashAttention", "mindspore": "FlashAttentionScore"}


def operators(path: Path) -> Counter[str]:
    return Counter(node.op for node in Model(codec.parse(path.read_bytes(), "x")).nodes)


def compiled(tmp_path: Path, *options: str, dtype: DType = FLOAT16) -> tuple[Path, Path, dict[str, dict[str, object]]]:
    """Source, result, and the sites by module."""
    source = transformer(sites=4, dtype=dtype).write(tmp_path / "unet.mindir")
    out = tmp_path / "out"
    assert cli.run(["compile", str(source), "-o", str(out), "--progress", "never", *options]) == 0
    report = json.loads((out / "report.json").read_bytes())
    sites = {site["id"].removeprefix("unet/"): site for site in report["components"][0]["sites"]}
    return source, out / "unet.mindir", sites


@pytest.mark.parametrize("runtime", NODES)
def test_every_site_becomes_the_node_of_the_runtime(tmp_path: Path, runtime: str) -> None:
    source, result, sites = compiled(tmp_path, "--runtime", runtime, "--require", "fused==sites")
    assert operators(source)["Softmax"] == 4
    assert operators(result)["Softmax"] == 0
    assert operators(result)[NODES[runtime]] == 4
    assert list(sites) == ["blocks.0.attn1", "blocks.0.attn2", "blocks.1.attn1", "blocks.1.attn2"]
    assert all(site["operator"] == NODES[runtime] for site in sites.values())


@pytest.mark.parametrize("runtime", NODES)
def test_a_float32_model_without_casts_keeps_every_formula(tmp_path: Path, runtime: str) -> None:
    source, result, sites = compiled(tmp_path, "--force-cast-dtype", "none", "--runtime", runtime, dtype=FLOAT32)
    assert (result.read_bytes() == source.read_bytes()) is (runtime == "mindspore")  # other operators are legalised
    assert operators(result)["Softmax"] == 4
    assert {site["status"] for site in sites.values()} == {"kept"}
    assert {site["rule"] for site in sites.values()} == {"--force-cast-dtype none"}


def test_a_rule_for_one_module_changes_that_module_only(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(
        '[defaults]\nforce_cast_dtype = "none"\n'
        '[[rules]]\nmatch = "unet.blocks.1.attn1"\nforce_cast_dtype = "bfloat16"\n'
    )
    source, result, sites = compiled(
        tmp_path, "--policy", str(tmp_path / "policy.toml"), "--runtime", "mindspore", dtype=FLOAT32
    )
    assert [module for module, site in sites.items() if site["status"] == "fused"] == ["blocks.1.attn1"]
    assert sites["blocks.1.attn1"]["compute_dtype"] == "bfloat16"
    assert sites["blocks.1.attn1"]["output_dtype"] == "float32"
    assert operators(result)["FlashAttentionScore"] == 1
    before, after = ({n.name: n.proto for n in Model(codec.parse(p.read_bytes(), "x")).nodes} for p in (source, result))
    changed = {
        name.split("/")[3] for name in (n.domain for v, n in before.items() if after.get(v) != n) if "attn" in name
    }
    assert changed == {"attn1-Attention"}
    assert all("1-Block" in n.domain or not n.domain for v, n in before.items() if after.get(v) != n)


@pytest.mark.parametrize(("op", "message"), [("Transpose", "is declared"), ("Depend", "is declared")])
def test_a_source_that_contradicts_itself_is_no_defect_of_ours(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], op: str, message: str
) -> None:
    proto = transformer().build()
    node = next(n for n in proto.graph.node if n.op_type == f"REF::{op}:0")
    node.attribute[0].tensors[0].dims[0] = 1
    (tmp_path / "odd.mindir").write_bytes(codec.serialise(proto))
    assert cli.run(["compile", str(tmp_path / "odd.mindir"), "-o", str(tmp_path / "out")]) == 3
    error = capfd.readouterr().err.splitlines()[-1]
    assert "odd.mindir contradicts itself" in error
    assert message in error
    assert not (tmp_path / "out").exists()


def test_flash_disabled_keeps_the_formula_there(tmp_path: Path) -> None:
    _, result, sites = compiled(tmp_path, "--no-flash", "unet.*.attn2")
    assert operators(result)["Softmax"] == 2
    assert {m: s["rule"] for m, s in sites.items() if s["status"] == "kept"} == {
        "blocks.0.attn2": "--no-flash unet.*.attn2",
        "blocks.1.attn2": "--no-flash unet.*.attn2",
    }


@pytest.mark.mindspore
def test_a_formula_that_was_restored_is_no_fused_node_that_is_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, fused, _ = compiled(tmp_path)
    restored = tmp_path / "restored"
    assert cli.run(["compile", str(fused), "-o", str(restored), "--soc", "910A", "--progress", "never"]) == 0
    assert "is fused at 0 of 4 sites" in (restored / "README.md").read_text(encoding="utf-8")
    capfd.readouterr()
    # Nothing of it was compared with its source.
    assert cli.run(["verify", str(restored), "--level", "static", "--progress", "never"]) == 5
    assert "DIFFERS" not in capfd.readouterr().err
