"""`python -m tests.support.recorder FILE NAME...`: the differences of each pipeline, as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from pathlib import Path

import mindspore

from tests.support.recorder.running import recorded
from tests.support.recorder.table import RECORDINGS


def main(file: Path, names: list[str]) -> None:
    """Write, by name, what of a pipeline's calls is not planned; of one that fails, the end of the traceback."""
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    told: dict[str, list[str]] = {}
    for name in names or RECORDINGS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                told[name] = recorded(name, Path(folder) / "pipeline")
            except Exception:
                told[name] = [traceback.format_exc()[-3000:]]
    file.write_text(json.dumps(told, indent=1), encoding="utf-8")


main(Path(sys.argv[1]), sys.argv[2:])
