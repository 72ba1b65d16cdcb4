"""The made documents are those the code makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MADE_PAGES = (
    "api.md",
    "cli.md",
    "codes.md",
    "components.md",
    "documents.md",
    "identities.md",
    "slow-tests.md",
    "targets.md",
)


@pytest.mark.parametrize("name", MADE_PAGES)
def test_made_documents_are_current(name: str, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("docs_tool", ROOT / "tools" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.write(tmp_path)
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8"), (
        "run python tools/docs.py"
    )
