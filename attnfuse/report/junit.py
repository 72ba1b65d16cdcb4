"""The report as JUnit XML: each component a suite with its sites, and one of the requirements.

It fails where a command does: where a requirement does not hold, or a component was left out. A site that is not fused
is a case that was skipped, with the reason: whether that is wrong is for a requirement to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from attnfuse.decisions import SiteRecord
from attnfuse.report.figures import Error, figures_of
from attnfuse.report.model import ComponentEntry, FailedEntry, Report
from attnfuse.report.require import Requirement
from attnfuse.report.rows import error_text

# What XML has no way to write (XML 1.0, production 2).
_NO_CHARACTER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(
    report: Report, verification: Mapping[str, Any] | None = None, requirements: Sequence[Requirement] = ()
) -> bytes:
    """The document, as UTF-8. Raises SourceError where `verification` is no certificate."""
    figures = figures_of(verification)
    suites = Element("testsuites", name="attnfuse")
    if requirements:
        _requirements(suites, report, requirements)
    for component in report.components:
        found = figures.get(component.name)
        _component(suites, component, {} if found is None else found.sites)
    for failed in report.failed:
        _failed(suites, failed)
    for suite in suites:
        _count(suite, [suite])
    _count(suites, list(suites))
    indent(suites, " ")
    return bytes(tostring(suites, "utf-8", xml_declaration=True)) + b"\n"


def _requirements(suites: Element, report: Report, requirements: Sequence[Requirement]) -> None:
    suite = SubElement(suites, "testsuite", name="requirements")
    for requirement in requirements:
        case = SubElement(suite, "testcase", classname="requirements", name=_text(str(requirement)))
        if (unmet := requirement.unmet(report)) is not None:
            SubElement(case, "failure", message=_text(unmet), type="requirement")


def _component(suites: Element, component: ComponentEntry, errors: Mapping[str, Error]) -> None:
    suite = SubElement(suites, "testsuite", name=_text(component.name))
    for site in component.sites:
        case = SubElement(suite, "testcase", classname=_text(component.name), name=_text(site.id))
        if site.status != "fused":
            SubElement(case, "skipped", message=_text(_why(site)))
        if (error := errors.get(site.module)) is not None:
            SubElement(case, "system-out").text = f"error {error_text(error)}"


def _why(site: SiteRecord) -> str:
    return f"{site.status.replace('_', ' ')} ({site.code}): {site.reason}"


def _failed(suites: Element, failed: FailedEntry) -> None:
    name = _text(failed.name)
    case = SubElement(SubElement(suites, "testsuite", name=name), "testcase", classname=name, name=name)
    SubElement(case, "error", message=_text(failed.reason), type="component")


def _count(element: Element, suites: Sequence[Element]) -> None:
    """The attributes that say how many of what are in some suites."""
    cases = [case for suite in suites for case in suite]
    element.set("tests", str(len(cases)))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(kind) is not None for case in cases)))


def _text(text: str) -> str:
    return _NO_CHARACTER.sub("\ufffd", text)
