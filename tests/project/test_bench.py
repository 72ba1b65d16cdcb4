"""Every bench runs on something small and prints its table; the figures are what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from tests.support.graphs import transformer
from tools.bench import compile as whole
from tools.bench import growth, measuring, pipeline, real_models, rewrite, stream, trace, verify


def rows(text: str) -> dict[str, list[str]]:
    """The lines of a Markdown table by their first cell."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in lines}


def test_a_command_is_measured_with_what_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = measuring._memory

    def seen(pid: int) -> int:
        found = plain(pid)
        if found > 64 * 2**20:
            (tmp_path / "seen").touch()
        return found

    monkeypatch.setattr(measuring, "_memory", seen)
    grandchild = (
        "import os, time; held = bytearray(64 * 2**20)\nwhile not os.path.exists('seen'): time.sleep(0.02)\n"
        "time.sleep(0.3)"
    )
    command = (
        "import subprocess, sys; open('made', 'wb').write(bytes(1000)); "
        f"subprocess.run([sys.executable, '-c', {grandchild!r}])"
    )
    found = measuring.measure([sys.executable, "-c", command], tmp_path)
    assert found.wall > 0.3
    assert 0 < found.cpu < 30
    assert 64 * 2**20 < found.peak < 256 * 2**20
    assert found.written == 1000


def test_what_a_fork_shares_counts_once(tmp_path: Path) -> None:
    held = 96 * 2**20
    command = f"import os, time; held = bytearray(b'x') * {held}; os.fork(); time.sleep(1.5)"
    assert held < measuring.measure([sys.executable, "-c", command], tmp_path).peak < 1.8 * held


def test_growth_of_a_trace_is_told_by_its_first_size(tmp_path: Path) -> None:
    found = rows(trace.growth_table({"blocks": {8: 2.0, 16: 2.5}, "whole": {8: 4.0, 16: 9.0}}))
    assert found["blocks, of the first"] == ["1.00", "1.25"]
    assert found["whole, CPU s"] == ["4.0", "9.0"]
    assert found["whole, of the first"] == ["1.00", "2.25"]
    assert trace._plan(tmp_path / "flux", 8).class_name == "FluxTransformer2DModel"


def test_a_command_that_fails_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        measuring.measure([sys.executable, "-c", "raise SystemExit('out of cheese')"], tmp_path)
    assert "out of cheese" in capsys.readouterr().err


def test_the_ratio_is_that_of_pairs() -> None:
    # The machine was three times slower in the second pair: that changes no ratio.
    first = [measuring.Figures(2, 1, 2**20, 5), measuring.Figures(6, 3, 2**20, 5)]
    second = [measuring.Figures(4, 4, 2**22, 7), measuring.Figures(12, 12, 2**22, 7)]
    found = rows(measuring.table({"a": first, "b": second}))
    assert found["a"] == ["4.0", "2.0", "1", "0"]
    assert found["a / b"] == ["0.50", "0.25", "0.25", ""]
    assert "a / b" not in rows(measuring.table({"a": first}))


def test_a_whole_compile_beside_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = tmp_path / "pipeline"
    pipeline.mkdir()
    report = """{"totals": {"fused": 31, "sites": 32}}"""
    write = f"import os; os.mkdir('out'); open('out/report.json', 'w').write({report!r}); "
    for name, size in (("_compile", 3_000_000), ("_export", 5_000_000)):
        command = [sys.executable, "-c", f"{write}open('made', 'wb').write(bytes({size}))"]
        monkeypatch.setattr(whole, name, lambda *_, command=command: command)
    assert whole.main([str(pipeline), "--runs", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("31 of 32 sites fused, float16, 2 runs\n")
    found = rows(out)
    assert [found[name][-1] for name in (whole.COMPILE, whole.COPY, whole.EXPORT)] == ["3", "0", "5"]
    assert {f"{whole.COMPILE} / {whole.COPY}", f"{whole.COMPILE} / {whole.EXPORT}"} < found.keys()
    assert list(tmp_path.iterdir()) == [pipeline]
    assert whole.main([str(pipeline), "--only", "export"]) == 0
    assert whole.COMPILE not in rows(capsys.readouterr().out)


def test_a_pipeline_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def command(_: Path, arguments: list[str]) -> list[str]:
        ran.append(arguments)
        return ["sh", "-c", f"mkdir -p out && echo {text} > out/report.json"]

    monkeypatch.setattr(pipeline, "_command", command)
    (tmp_path / "sdxl").mkdir()
    text = "same"
    assert pipeline.main([str(tmp_path / "sdxl"), "--jobs", "1,2", "--rule", "vae"]) == 0
    found = rows(capsys.readouterr().out)
    assert [len(found[name]) for name in pipeline.RUNS] == [6, 6, 6]
    assert [("--no-flash" in one, one[one.index("--jobs") + 1]) for one in ran] == [
        (False, "1"), (True, "1"), (True, "1"), (False, "2"), (True, "2"), (True, "2")
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["sdxl"]
    text = "$$"
    with pytest.raises(ValueError, match=r"differ in report\.json"):
        pipeline.main([str(tmp_path / "sdxl")])


@pytest.mark.parametrize("options", [[], ["--cold"], ["--dtype", "bfloat16"]])
def test_streaming_beside_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    checkpoint = tmp_path / "weights.safetensors"
    save_file({"a": np.zeros((64, 3), np.float16), "b": np.ones((500_000,), np.float16)}, checkpoint)
    assert stream.main([str(checkpoint), "--runs", "1", *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 MB written, ")
    assert set(rows(out)) >= {"stream, digest, sync", "cp, sync", "stream / cp, pair by pair"}
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_what_is_streamed_is_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "weights.safetensors"
    save_file({"b": np.arange(4, dtype=np.float32), "a": np.ones(2, np.float32)}, checkpoint)
    stream.stream(checkpoint, "float16", tmp_path / "out")
    written = (tmp_path / "out" / "data_0").read_bytes()
    assert np.frombuffer(written[64:68], np.float16).tolist() == [1, 1]
    assert np.frombuffer(written[128:136], np.float16).tolist() == [0, 1, 2, 3]


def test_rewriting_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    graph = tmp_path / "graph.mindir"
    transformer(sites=2, weights=False).write(graph)
    monkeypatch.setattr(sys, "argv", ["rewrite", str(graph), "--runs", "1"])
    assert rewrite.main() == 0
    out = capsys.readouterr().out
    assert "2 of 2 sites fused" in out
    assert {"passes", "total without import", "total / read, parse and write", "peak memory, MiB"} <= set(rows(out))


def test_growth(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["growth", "--sizes", "200,400", "--blocks", "1,3"])
    assert growth.main() == 0
    found = rows(capsys.readouterr().out)
    few, more = (int(nodes) for nodes in found if nodes.isdecimal())
    assert 100 < few < 300 < more < 500
    assert found["1 blocks"][-1] == "1.0 ×"
    assert int(found["3 blocks"][0]) > 2 * int(found["1 blocks"][0])


def test_real_models_are_told_before_and_after_on_each_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer(sites=2, weights=False).write(tmp_path / "real_dit-float16.mindir")
    page = tmp_path / "page.md"
    page.write_text("before <!-- tables --> old <!-- end of tables --> behind\n")
    monkeypatch.setattr(sys, "argv", ["real_models", str(tmp_path), "--page", str(page)])
    assert real_models.main() == 0
    text = page.read_text()
    assert text.startswith("before <!-- tables -->\n")
    assert text.endswith("<!-- end of tables --> behind\n")
    assert "old" not in text
    sections = text.split("## ")[1:]
    assert [section.splitlines()[0] for section in sections[:4]] == [
        f"`--runtime {target.runtime} --soc {target.soc}`" for target in real_models.TARGETS
    ]
    for section in sections[:4]:
        (row,) = [line for line in section.splitlines() if line.startswith("| DiT")]
        before, after = row.split("|")[3].split("→")
        assert float(after) <= float(before)


def test_verification_is_told_by_stage_and_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, kept = transformer(sites=2, weights=False).write(tmp_path / "unet.mindir"), tmp_path / "kept"
    cost = {"cpu_seconds": 3.4, "wall_seconds": 2.0, "runs": 2, "bytes": 2**21}
    rows_ = [{"stage": "numbers", "run": "exact", "operator": "Softmax", **cost}]

    def ran(command: Sequence[str], out: Path) -> measuring.Figures:
        assert [*command[3:4], *command[6:8]] == ["verify", "--level", "sampled"]
        assert command[-2:] == ["--max-memory", "2G"]
        profile = {"stages": {"numbers": cost}, "operators": rows_}
        Path(command[command.index("--profile") + 1]).write_text(json.dumps(profile))
        return measuring.Figures(4.0, 5.0, 2**22, 0)

    monkeypatch.setattr(verify, "measure", ran)
    arguments = [str(graph), "--level", "sampled", "--max-memory", "2G", "--keep", str(kept)]
    monkeypatch.setattr(sys, "argv", ["verify", *arguments])
    assert verify.main() == 0
    found = rows(capsys.readouterr().out)
    assert found["whole"][:3] == ["5", "4", "4"]
    fused = Model(codec.parse(codec.read_bytes(kept / "unet.mindir"), "unet"))
    assert sum(node.op == "PromptFlashAttention" for node in fused.nodes) == 2
