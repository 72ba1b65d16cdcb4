"""Which lines of what reads a kind of input its mutants reach: by `coverage`, a module a row."""

from __future__ import annotations

import ast
import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import coverage

from tools.fuzz import cases
from tools.fuzz.cases import Bench, Kind
from tools.fuzz.kinds import KINDS
from tools.fuzz.outcomes import MEMORY_FOLDER


def cover(count: int) -> int:
    """Run the first mutants of each kind, and print a table: lines of each module, and how many were reached."""
    print("| kind | module | lines | reached |\n|---|---|---|---|")
    for kind in KINDS.values():
        for module, lines, missed in _covered(kind, count):
            reached = 100 * (lines - missed) / max(lines, 1)
            print(f"| {kind.name} | `{module}` | {lines} | {reached:.0f} % |", flush=True)
    return 0


def _covered(kind: Kind, count: int) -> Iterator[tuple[str, int, int]]:
    """Of each module how many lines its functions have, and how many of those no mutant reached."""
    files = {name: importlib.import_module(name).__file__ for name in kind.readers}
    kind.seeds()
    measured = coverage.Coverage(data_file=None, include=[file for file in files.values() if file], branch=False)
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-", dir=MEMORY_FOLDER) as folder:
        bench = Bench(Path(folder))
        measured.start()
        for number in range(count):
            bench.run(cases.make(kind, number))
        measured.stop()
    for name, file in files.items():
        _, lines, _, missed, _ = measured.analysis2(str(file))
        within = _in_functions(Path(str(file)).read_text(encoding="utf-8"))
        yield name, len(within.intersection(lines)), len(within.intersection(missed))


def _in_functions(source: str) -> set[int]:
    """The lines of functions' bodies: all others run when a module is imported."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return {line for f in functions for line in range(f.body[0].lineno, (f.end_lineno or f.lineno) + 1)}
