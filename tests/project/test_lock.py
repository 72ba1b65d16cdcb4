"""The locks pin all that is asked for, with hashes and without anybody's address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from attnfuse.version import TESTED_MINDSPORE

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCK_2_10 = (ROOT / "requirements-mindspore-2.10.lock").read_text(encoding="utf-8")
LITE_LOCK = (ROOT / "requirements-lite.lock").read_text(encoding="utf-8")
LOCKS = {"requirements": LOCK, "requirements-mindspore-2.10": LOCK_2_10, "requirements-lite": LITE_LOCK}


def pins(lock: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def wanted(left_out: str) -> list[Requirement]:
    """What both packages ask for, but for each other: they lie in this tree."""
    document, other = (
        tomllib.loads((ROOT / place / "pyproject.toml").read_text(encoding="utf-8")) for place in ("", "runtime")
    )
    project = document["project"]
    lines = [*project["dependencies"], *document["build-system"]["requires"], *other["project"]["dependencies"]]
    for name, extra in project["optional-dependencies"].items():
        if name != left_out:
            lines.extend(extra)
    found = [Requirement(line) for line in lines]
    own = {canonicalize_name(one["name"]) for one in (project, other["project"])}
    return [r for r in found if canonicalize_name(r.name) not in own]


@pytest.mark.parametrize(("lock", "left_out"), [(LOCK, "trace-2-10"), (LOCK_2_10, "trace")], ids=["2.7", "2.10"])
def test_every_requirement_is_pinned_within_its_bounds(lock: str, left_out: str) -> None:
    locked = pins(lock)
    environment = {key: str(value) for key, value in default_environment().items()}
    wrong = [
        f"{requirement}: locked {locked.get(canonicalize_name(requirement.name))}"
        for requirement in wanted(left_out)
        if (requirement.marker is None or requirement.marker.evaluate(environment))
        and not requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert not wrong, "run bash tools/lock.sh: " + "; ".join(wrong)
    assert len(wanted(left_out)) > 20


def test_the_two_environments_differ_in_mindspore_alone() -> None:
    first, second = pins(LOCK), pins(LOCK_2_10)
    assert (first.pop("mindspore"), second.pop("mindspore")) == TESTED_MINDSPORE
    assert first == second


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_every_pin_carries_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    assert len(entries) == lock.count("==") > 1
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_no_address_is_named(lock: str) -> None:
    assert not re.search(r"://|index-url|find-links|trusted-host|^-", lock, re.MULTILINE)
