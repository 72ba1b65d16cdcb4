"""Mutants that follow coverage: atheris changes bytes, and keeps what reaches lines that nothing reached before.

    python -m tools.fuzz guided --kind policy --seconds 60 [--keep 40]

A process of its own, as what is looked into has to be instrumented while it is imported. What fails is told once for
each cause, and with `--keep` the smallest entries that reach more than the seeds are kept in the repository (`corpus`),
up to as many kB.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_DRIVE = "drive"
"""What the process is asked that atheris runs in."""


def main() -> int:
    """Read the arguments, follow coverage, and keep what reaches lines that the seeds do not."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz guided")
    parser.add_argument("--kind", required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", type=int, default=0, metavar="KB", help="keep that much of what was found")
    if sys.argv[1:2] == [_DRIVE]:
        return drive(sys.argv[2], sys.argv[3:])
    options = parser.parse_args()
    from tools.fuzz import corpus
    from tools.fuzz.covering import least
    from tools.fuzz.kinds import KINDS

    kind, sound = KINDS[options.kind], list(corpus.sound(KINDS[options.kind]))
    with tempfile.TemporaryDirectory(prefix="attnfuse-guided-") as made:
        found = Path(made)
        for at, entry in enumerate((*sound, *corpus.kept(kind.name))):
            (found / f"seed-{at}").write_bytes(entry)
        own = ["-verbosity=0", "-timeout=0", "-rss_limit_mb=0", "-len_control=0"]
        code = _driven(kind.name, [f"-max_total_time={options.seconds}", *own, str(found)])
        if options.keep:
            new = least(kind, sound, [path.read_bytes() for path in found.iterdir()])
            chosen: list[bytes] = []
            for entry in new:
                chosen.append(entry)
                if corpus.keep(kind.name, chosen) > options.keep * 1024:
                    chosen.pop()
                    break
            print(f"{len(chosen)} of {len(new)} kept: {corpus.keep(kind.name, chosen)} bytes")
    return code


def _driven(kind: str, arguments: list[str]) -> int:
    command = [sys.executable, "-m", "tools.fuzz.guided", _DRIVE, kind, *arguments]
    return subprocess.run(command, check=False).returncode


def drive(name: str, arguments: list[str]) -> int:
    """Hand what atheris makes up to the kind's readers."""
    atheris: Any = importlib.import_module("atheris")  # of no environment that is locked
    with atheris.instrument_imports(include=["attnfuse", "attnfuse_runtime"]):
        kinds = importlib.import_module("tools.fuzz.kinds")
    from tools.fuzz import corpus
    from tools.fuzz.cases import Bench

    kind: Any = kinds.KINDS[name]
    told: set[tuple[str, str]] = set()
    kind.seeds()
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-") as folder:
        bench = Bench(Path(folder))

        def try_one(entry: bytes) -> None:
            outcome = bench.run(corpus.of_entry(kind, 0, entry))
            if outcome.failed and (outcome.kind, outcome.where) not in told:
                told.add((outcome.kind, outcome.where))
                print(f"{outcome.kind}: {outcome.where}\n{outcome.detail}\nentry {entry!r}", flush=True)

        atheris.Setup([sys.argv[0], *arguments], try_one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
