"""measured.json and align.json: what is read, and what is said of those that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnfuse.errors import SourceError
from attnfuse.measured.folder import read_aligned, read_folder
from tests.support.measured import Measured


def test_what_the_folder_says(given: Measured) -> None:
    found = read_folder(given.folder)
    assert (found.board, found.versions["cann"]) == ("Ascend910B3", "8.1.RC1")
    assert [(one.name, one.runs) for one in found.components] == [("unet", 2)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema": "attnfuse.measured/2"}, "is 'attnfuse.measured/2', and this attnfuse reads attnfuse.measured/1"),
        ({"components": [{"name": "unet"}]}, "is damaged at components.0.graph_sha256: Field required"),
        ({"components": [{"name": "unet", "graph_sha256": "0", "runs": 0}]}, "is damaged at components.0.runs: "),
        ({"board": 7}, "is damaged at board: "),
    ],
)
def test_an_index_that_is_none(given: Measured, changed: dict[str, Any], said: str) -> None:
    given.index(**changed)
    with pytest.raises(SourceError) as caught:
        read_folder(given.folder)
    assert said in str(caught.value)


def test_a_folder_that_is_none(given: Measured, tmp_path: Path) -> None:
    index = given.folder / "measured.json"
    for text, said in (("{", "cannot be read: "), ("7", "is None, and this attnfuse reads")):
        index.write_text(text)
        with pytest.raises(SourceError, match=said):
            read_folder(given.folder)
    for path, said in (
        (index, "is a file; --measured takes the folder"),
        (tmp_path / "none", "does not exist; --measured takes the folder"),
        (given.unet, "has no measured.json"),
    ):
        with pytest.raises(SourceError, match=said):
            read_folder(path)


@pytest.mark.parametrize("text", ["{}7", "[7]", '[{"file": "a"}]', '[{"file": "a", "output": "b", "findings": 7}]'])
def test_numbers_that_align_did_not_write(tmp_path: Path, text: str) -> None:
    file = tmp_path / "align.json"
    file.write_text(text)
    with pytest.raises(SourceError, match=r"align\.json (is not what align\.py --json writes|cannot be read)"):
        read_aligned(file)


def test_an_output_that_could_not_be_compared(tmp_path: Path) -> None:
    file = tmp_path / "align.json"
    file.write_text(json.dumps([{"file": "a", "output": "b", "limits": {}, "findings": ["cannot be compared: x"]}]))
    (found,) = read_aligned(file)
    assert (found.max_abs, found.cosine, found.findings) == (None, None, ("cannot be compared: x",))
