"""The estimate as a user sees it: in the table, in the report, as a requirement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse import cli
from tests.support.graphs import transformer


@pytest.mark.parametrize(
    ("requirement", "code", "said"),
    [
        ("bytes<=0.9", 0, "estimate for ascend910b, source → result (docs/cost.md; not measured)"),
        ("bytes<=0.1", 1, "error: required bytes<=0.1, but the estimate of unet is 0."),
        ("bytes<=half", 2, "give a number"),
    ],
)
def test_an_estimate_is_told_and_can_be_required(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], requirement: str, code: int, said: str
) -> None:
    file = transformer(sites=2, length=256, weights=False).write(tmp_path / "unet.mindir")
    report = tmp_path / "report.json"
    arguments = ["inspect", str(file), "--require", requirement, "--report", str(report), "--progress", "never"]
    assert cli.run(arguments) == code
    captured = capfd.readouterr()
    assert said in captured.out + captured.err
    if code == 2:
        assert not report.exists()
        return
    (component,) = json.loads(report.read_text(encoding="utf-8"))["components"]
    before, after = component["cost"]["before"], component["cost"]["after"]
    assert after["bytes_moved"] < before["bytes_moved"]
    assert after["kernels"] < before["kernels"]
    assert component["cost"]["not_estimated"] == ""
    shares = component["cost"]["sites"]
    assert [share["site"] for share in shares] == [site["id"] for site in component["sites"]]
    for field in ("bytes_moved", "kernels", "seconds"):
        assert all(0 < share["after"][field] < share["before"][field] for share in shares)
        assert sum(share["before"][field] for share in shares) < before[field]
        # All that fusing saves is saved at the sites.
        saved = sum(share["before"][field] - share["after"][field] for share in shares)
        assert saved == pytest.approx(before[field] - after[field])
