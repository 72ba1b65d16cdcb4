"""The HTML report as a person has it: opened in Chromium, light, dark, on a phone, without scripts, and on paper.

npm installs the browser (some 60 MB) where the test runs. Pictures stay in the test's folder (`--basetemp`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attnfuse.cost.records import Comparison, Estimate, Share, SiteCost
from attnfuse.decisions import SiteFacts, SiteRecord
from attnfuse.report.build import component_entry, report, with_ids
from attnfuse.report.model import Report
from attnfuse.report.page import page
from attnfuse.targets import Target
from tests.report.test_figures import certificate
from tests.support.waiting import PATIENCE

HERE = Path(__file__).parent
HOSTILE = "</script><script>document.title = 'taken'</script><img src='https://example.invalid/x.png'>"

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def sdxl_modules() -> Iterator[str]:
    """The 140 attentions of SDXL's UNet: transformer blocks by the attentions of each block."""
    places = [("down_blocks.1", 2, 2), ("down_blocks.2", 2, 10), ("mid_block", 1, 10), ("up_blocks.0", 3, 10)]
    for place, attentions, blocks in [*places, ("up_blocks.1", 3, 2)]:
        for attention in range(attentions):
            for block in range(blocks):
                for name in ("attn1", "attn2"):
                    yield f"{place}.attentions.{attention}.transformer_blocks.{block}.{name}"


def site(module: str, keys: int, status: str = "fused") -> SiteRecord:
    region = (
        f"CNode_1:1 = BatchMatMul(CNode_0:0, CNode_9:9) : float16[20, 4096, {keys}]",
        f"CNode_2:2 = Softmax(CNode_1:1, (-1,)) : float16[20, 4096, {keys}]",
        "CNode_3:3 = BatchMatMul(CNode_2:2, CNode_8:8) : float16[20, 4096, 64]",
    )
    known: Any = {"form": "formula", "status": status, "code": status, "reason": "" if status == "fused" else HOSTILE}
    return SiteRecord(
        module=module, graph="g", anchor=module, layout="BSH", operator="PromptFlashAttention", region=region,
        facts=SiteFacts(4096, keys, 64, "float16"), score_bytes_saved=2**30, **known,
    )  # fmt: skip


def _shares(sites: Iterable[SiteRecord]) -> tuple[SiteCost, ...]:
    share = Share(97 * 2**20, 14, 5.1e-5)
    return tuple(SiteCost(site.id, share, share) for site in sites)


def sdxl() -> Report:
    """A report as SDXL has it, in which each block of the UNet but one is as its like, and names are hostile."""
    estimate = Estimate(97 * 2**30, 2869, 0, 0, 2**30, 1e12, 0.08, tuple(n % 7 * 2**27 for n in range(240)))
    unet = [site(module, 4096 if module.endswith("1") else 77) for module in sdxl_modules()]
    text = [site(f"layers.{n}.self_attn", 77, "missed" if n == 7 else "fused") for n in range(32)]
    entries = [
        component_entry(name, 9, sites, cost=Comparison(estimate, estimate, "", _shares(sites)))
        for name, records in (("unet", unet), ("text_encoder_2", text), (HOSTILE, ()))
        for sites in (with_ids(name, records),)
    ]
    return report(Target("lite", "ascend910b"), entries, [HOSTILE], {"vae": HOSTILE})


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Chromium saw of the page."""
    folder = tmp_path_factory.mktemp("browser")
    for name in ("package.json", "package-lock.json", "look.mjs"):
        shutil.copy(HERE / name, folder)
    npm = ["npm", "ci", "--no-audit", "--no-fund"]
    subprocess.run(npm, cwd=folder, check=True, capture_output=True, timeout=PATIENCE)
    content = page(sdxl(), certificate())
    assert len(content) < 2 * 2**20
    (folder / "report.html").write_bytes(content)
    command = ["node", "look.mjs", "report.html", "."]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=PATIENCE)
    sys.stdout.write(f"pictures are in {folder}\n")
    found: dict[str, Any] = json.loads(done.stdout)
    found["pictures"] = {path.name: path.stat().st_size for path in folder.glob("*.p[nd][gf]")}
    return found


def test_it_opens_and_loads_nothing_else(seen: dict[str, Any]) -> None:
    sys.stdout.write(f"opened in {seen['milliseconds']:.0f} ms\n")
    assert [address.rpartition("/")[2] for address in seen["asked"]] == ["report.html"]
    assert seen["said"] == []


def test_it_shows_text_and_every_site(seen: dict[str, Any]) -> None:
    for told in (
        "171 of 172",
        "97.0 → 97.0 GiB",
        "unet",
        "1.attentions.0–1.transformer_blocks.0–1",
        "mid_block.attentions.0.transformer_blocks.0–9",
        "0–6, 8–31.self_attn",
        HOSTILE,
    ):
        assert told in seen["text"], told
    assert seen["points"] == [240] * 6
    assert seen["sites"]["all"] == 172


def test_the_search_keeps_what_has_all_its_words(seen: dict[str, Any]) -> None:
    """Equal blocks stand once: those of up_blocks.0 are one, with all of their names."""
    assert seen["sites"]["searched"] == 60
    assert seen["found"] == "60 of 172 sites"


@pytest.mark.parametrize("view", ["light", "dark", "phone"])
def test_it_is_accessible_and_fits(seen: dict[str, Any], view: str) -> None:
    """axe-core finds nothing, and only tables scroll sideways."""
    assert seen["violations"][view] == []
    assert seen["overflow"][view] == 0


def test_pictures_were_taken(seen: dict[str, Any]) -> None:
    assert set(seen["pictures"]) == {"light.png", "dark.png", "phone.png", "plain.png", "paper.pdf"}
    assert min(seen["pictures"].values()) > 10_000
