"""Writes the corpus: `python -m tools.corpus [NAME...]`, NAME being CASE, CASE-DTYPE or, by default, everything.

Needs the trace extra; 5 to 15 s and 1 GB a graph, one at a time. A graph that does not trace is told, and the
exit code is 1; what was stored of it before stays.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.corpus import store

_DONE = "corpus: "  # see worker.py, which this process cannot import
_ROOT = Path(__file__).resolve().parents[2]


def trace(names: list[str], folder: Path) -> Iterator[str]:
    """Trace graphs into `folder`, which gets NAME.json and, unless it failed, NAME.mindir; yield each name when done.

    What MindSpore says goes to a log there. Raises CalledProcessError where the worker as a whole fails.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'passes'}"}
    # Protobuf's backend is MindSpore's choice; its compile cache loses the scopes.
    for setting in ("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH"):
        environment.pop(setting, None)
    command = [sys.executable, "-m", "tools.corpus.worker", str(folder), *names]
    with (
        (folder / "trace.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if line.startswith(_DONE):
                yield line.removeprefix(_DONE).partition(":")[0]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def failure(name: str, folder: Path) -> str | None:
    """Why a graph did not trace; None where it did."""
    result = folder / f"{name}.json"
    if not result.exists():
        return "the tracing process died"
    told: dict[str, str] = json.loads(result.read_text(encoding="utf-8"))
    return told.get("error")


def entry(name: str, folder: Path, data: bytes) -> store.Entry:
    """What is to be said of a graph that was just traced into `folder`."""
    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    counted = store.count(data)
    return store.Entry(family=told["family"], dtype=name.rpartition("-")[2], modules=tuple(told["modules"]), **counted)


def main() -> int:
    """Trace what was asked for, store it, tell sizes and failures."""
    parser = argparse.ArgumentParser(description="Trace small models through mindone into tests/corpus.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="CASE or CASE-DTYPE; all by default")
    options = parser.parse_args()
    entries = store.sites()
    traced = failed = 0
    with tempfile.TemporaryDirectory(prefix="corpus-") as place:
        folder = Path(place)
        for name in trace(options.names, folder):
            error = failure(name, folder)
            if error is not None:
                failed += 1
                print(f"{name}: {error}", file=sys.stderr)
                continue
            traced += 1
            data = (folder / f"{name}.mindir").read_bytes()
            store.write(name, data)
            entries[name] = entry(name, folder, data)
            store.write_sites(entries)
            print(f"{name}: {entries[name].softmax} + {entries[name].fused} sites", flush=True)
    size = sum(path.stat().st_size for path in store.FOLDER.iterdir())
    print(f"{traced} graphs traced, {failed} failed; {len(entries)} stored, {size / 2**20:.1f} MiB")
    return 1 if failed or not traced else 0


if __name__ == "__main__":
    sys.exit(main())
