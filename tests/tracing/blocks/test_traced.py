"""Blocks of a cache: what is none is noticed, whatever its digest says, and made anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.store.kinds import Kind
from tests.cli.test_malformed_entries import CONTENTS
from tests.support import forks


@pytest.mark.mindspore
def test_what_is_no_such_block_is_none(tmp_path: Path) -> None:
    """Alone, and within another one."""
    (tmp_path / "contents").mkdir()
    for name, content in CONTENTS.items():
        (tmp_path / "contents" / name).write_bytes(content)
    done = forks.script("-m", "tests.support.kept_blocks", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads((tmp_path / "told.json").read_text())
    assert len(told) == 2 * (len(CONTENTS) + 3 + 8)
    assert {name: tuple(found) for name, found in told.items()} == dict.fromkeys(told, (False, True))
    assert any((tmp_path / "cache").glob(f"*/{Kind.BLOCKS}/*"))
