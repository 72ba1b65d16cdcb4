"""The HTML report: complete, the same each time, and safe from what graphs call themselves."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from attnfuse.cost.records import Comparison, Estimate
from attnfuse.decisions import SiteFacts, SiteRecord
from attnfuse.report.build import component_entry, report, with_ids
from attnfuse.report.model import Report, UnsupportedEntry
from attnfuse.report.page import page
from attnfuse.targets import Target
from tests.report.test_figures import certificate

HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)>" onload='alert(3)' {{ 7 * 7 }}"""
MEMORY = Estimate(100 * 2**20, 9, 0, 0, 3 * 2**20, 0.0, 0.08, (2**20, 3 * 2**20, 2**20))
REGION = (
    "a:1 = BatchMatMul(q:1, k:1) : float16[8, 24, 24]",
    "b:2 = Softmax(a:1, (-1,)) : float16[8, 24, 24]",
    "c:3 = BatchMatMul(b:2, v:1) : float16[8, 24, 16]",
)


def site(module: str, **fields: object) -> SiteRecord:
    known = {"form": "formula", "status": "fused", "code": "fused", "reason": "", **fields}
    return SiteRecord(module=module, graph="g", anchor=module, **known)  # type: ignore[arg-type]


def made(name: str = "unet") -> Report:
    """A fused site with its formula, one that was kept, and an operator that nobody takes."""
    sites = [
        site("a", region=REGION, operator="PromptFlashAttention", layout="BSH", score_bytes_saved=2048,
             facts=SiteFacts(24, 24, 16, "float16", "self")),
        site(f"{name}.b", status="kept", code="policy.no_flash", reason=f"because of {name}", rule=name),
    ]  # fmt: skip
    left = UnsupportedEntry(op=name, count=2, reason=name, nodes=(name,), modules=(name,))
    cost = Comparison(MEMORY, MEMORY, "")
    entry = component_entry(name, 9, with_ids(name, sites), unsupported=(left,), cost=cost)
    return report(Target("lite", "ascend910b"), [entry], [name], {"vae": f"no class {name}"})


class _Seen(HTMLParser):
    """Tags with their attributes, and the text outside of script and style."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, str] = {}
        self._open = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            self.raw[self._open] = self.raw.get(self._open, "") + data
        else:
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def test_the_page_tells_what_the_report_tells() -> None:
    text = _Seen(page(made(), certificate())).text
    for told in (
        "attention for lite on ascend910b",
        "1 of 2",
        "100 → 100 MiB",
        "vae was left out: no class unet",
        "Peak 3.0 MiB in the source, 3.0 MiB in the result.",
        "PromptFlashAttention BSH",
        "2.0 KiB of scores and weights are no longer written",
        "kept 1 ( policy.no_flash ): because of unet",
        "error 5.00e-04 of 1.00e-03",
        "8.00e-04 of 1.00e-03",
        "an operator",
    ):
        assert told in text, told


def test_the_same_report_gives_the_same_bytes() -> None:
    assert page(made(), certificate()) == page(made(), certificate())
    assert page(made()) != page(made(), certificate())


def test_names_are_text_whatever_they_hold() -> None:
    plain, hostile = _Seen(page(made())), _Seen(page(made(HOSTILE)))
    assert hostile.tags != plain.tags
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    names = [[sorted(attributes) for _, attributes in seen.tags] for seen in (plain, hostile)]
    assert names[0] == names[1]
    assert hostile.raw == plain.raw
    assert "{{ 7 * 7 }}" in hostile.text


def test_nothing_is_loaded_and_only_its_own_script_may_run() -> None:
    seen = _Seen(page(made()))
    for tag, attributes in seen.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed"), tag
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "style", "action"), name
            assert name != "href" or (value or "").startswith("#")
    policy = next(a["content"] for tag, a in seen.tags if tag == "meta" and a.get("http-equiv"))
    hashes = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text in seen.raw.items()
    }
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'"
    )


def test_a_report_of_nothing_is_a_page() -> None:
    empty = report(Target("mindspore", "ascend910b"), [component_entry("vae", 1, ())], [])
    text = _Seen(page(empty)).text
    assert "not estimated: no estimate was made" in text
    assert "It has no attention." in text
