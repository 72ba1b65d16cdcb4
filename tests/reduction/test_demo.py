"""The demo's UNet, whole and with its head sizes: three planted faults, each left with a dozen nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.policy import Policy
from attnfuse.reduction.errors import Compile
from attnfuse.reduction.jobs import Values, difference, error
from attnfuse.sources import from_trace
from attnfuse.targets import Target
from tests.reduction.faults import Crash, attentions, rewritten, swapped_elements, wrong_scale
from tests.support.traces import TracedDemo, demo_folder, traced_demo

__all__ = ["demo_folder", "traced_demo"]

pytestmark = [pytest.mark.slow, pytest.mark.mindspore]

FEW = 12


@pytest.fixture(scope="module")
def unet(traced_demo: TracedDemo) -> bytes:
    return from_trace(traced_demo("float16", "unet")["unet"], {}).data


@pytest.mark.parametrize("site", ["self", "cross", "self, padded", "cross, padded", "elements"])
def test_a_difference(unet: bytes, tmp_path: Path, site: str) -> None:
    fused = rewritten(unet)
    sites = [value for value in attentions(fused) if ("attnfuse" in value) == ("padded" in site)]
    (tmp_path / "unet.mindir").write_bytes(unet)
    scaled = wrong_scale(fused, sites["cross" in site])
    planted = swapped_elements(fused) if site == "elements" else scaled
    (tmp_path / "out.mindir").write_bytes(planted)
    job = difference(tmp_path / "unet.mindir", tmp_path / "out.mindir", 0, tmp_path, lambda _: None)
    job.run()
    assert job.found().whole > 2000
    assert max(job.found().nodes.values()) <= FEW


def test_a_node_that_a_pass_crashes_on(unet: bytes) -> None:
    component = Component(name="unet", owner="unet", where="unet", data=unet, graph_name="unet.mindir")
    passes = (Crash(), *pass_manager.discover())
    compiles = [Compile(component, Policy(), Target("lite", "ascend910b"), passes)]
    job = error(compiles, Values("none", 0), str, lambda _: None)
    job.run()
    assert max(job.found().nodes.values()) <= FEW
