"""A file that one can take in: what grows beyond that is about two things."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 600


def test_no_file_is_longer_than_one_can_take_in() -> None:
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("attnfuse", "passes", "tools", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}, "split it by subject"
