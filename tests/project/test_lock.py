"""The locks pin all that is asked for, with hashes and without anybody's address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LITE_LOCK = (ROOT / "requirements-lite.lock").read_text(encoding="utf-8")
PINS = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.MULTILINE)}


def wanted() -> list[Requirement]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    lines = [*project["dependencies"], *document["build-system"]["requires"]]
    for extra in project["optional-dependencies"].values():
        lines.extend(extra)
    found = [Requirement(line) for line in lines]
    return [r for r in found if canonicalize_name(r.name) != canonicalize_name(project["name"])]


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    environment = {key: str(value) for key, value in default_environment().items()}
    wrong = [
        f"{requirement}: locked {PINS.get(canonicalize_name(requirement.name))}"
        for requirement in wanted()
        if (requirement.marker is None or requirement.marker.evaluate(environment))
        and not requirement.specifier.contains(PINS.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert not wrong, "run bash tools/lock.sh: " + "; ".join(wrong)
    assert len(wanted()) > 20


@pytest.mark.parametrize("lock", [LOCK, LITE_LOCK], ids=["requirements", "requirements-lite"])
def test_every_pin_carries_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    assert len(entries) == lock.count("==") > 1
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", [LOCK, LITE_LOCK], ids=["requirements", "requirements-lite"])
def test_no_address_is_named(lock: str) -> None:
    assert not re.search(r"://|index-url|find-links|trusted-host|^-", lock, re.MULTILINE)
