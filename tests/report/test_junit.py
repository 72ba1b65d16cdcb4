"""JUnit: suites, cases, what fails and what is skipped."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from attnfuse.report.junit import junit
from attnfuse.report.require import parse_requirement
from tests.report.test_figures import certificate
from tests.report.test_page import made


def read(content: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(content)


def outline(suites: ElementTree.Element) -> dict[str, list[tuple[str, str]]]:
    """By suite: each case with what became of it."""
    return {
        suite.attrib["name"]: [(case.attrib["name"], " ".join(child.tag for child in case)) for case in suite]
        for suite in suites
    }


def test_components_are_suites_and_requirements_are_cases() -> None:
    requirements = [parse_requirement(text) for text in ("failed==0", "sites==2")]
    suites = read(junit(made(), certificate(), requirements))
    assert outline(suites) == {
        "requirements": [("failed==0", "failure"), ("sites==2", "")],
        "unet": [("unet/a", "system-out"), ("unet/unet.b", "skipped")],
        "vae": [("vae", "error")],
    }
    assert dict(suites.attrib) == {"name": "attnfuse", "tests": "5", "failures": "1", "errors": "1", "skipped": "1"}
    told = {child.tag: child.attrib.get("message", child.text) for child in suites.iter() if child.tag != "testcase"}
    assert told["failure"] == "required failed==0, but failed is 1"
    assert told["skipped"] == "kept (policy.no_flash): because of unet"
    assert told["error"] == "no class unet"
    assert told["system-out"] == "error 5.00e-04 of 1.00e-03"


@pytest.mark.parametrize("name", ['a" <b>&', "a\x00\x1b[31m\ufffe"])
def test_names_are_text_whatever_they_hold(name: str) -> None:
    suites = read(junit(made(name)))
    assert len(suites) == 2
    assert suites[0].attrib["name"].startswith("a")
