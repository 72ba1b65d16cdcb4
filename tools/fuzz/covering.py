"""Which lines of what reads a kind of input its mutants reach: by `coverage`, a module or a package a row."""

from __future__ import annotations

import ast
import importlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import coverage

from tools.fuzz import corpus, seeds, workers
from tools.fuzz.cases import Bench, Kind
from tools.fuzz.kinds import KINDS
from tools.fuzz.outcomes import MEMORY_FOLDER
from tools.fuzz.workers import Start

GRAPH_READERS = (
    *("attnfuse.mindir", "attnfuse.ir", "attnfuse_passes.attention", "attnfuse_passes.legalise", "attnfuse_passes"),
    *("attnfuse.rewriting", "attnfuse.pass_manager", "attnfuse.verify.graph", "attnfuse.cost", "attnfuse.report"),
)
"""What a graph goes through, of a package all below it."""


def cover(kinds: Sequence[str], count: int) -> int:
    """Run the first mutants of each of these kinds, and print a table: lines of each module, and how many were
    reached."""
    print("| kind | module | lines | reached |\n|---|---|---|---|")
    start: Start
    readers: Sequence[str]
    for name in kinds:
        if name == "graph":
            seeds.groups()
            start, readers = workers.of_graphs, GRAPH_READERS
        else:
            KINDS[name].seeds()
            start, readers = workers.of_kind(KINDS[name]), KINDS[name].readers
        for module, lines, missed in _covered(start, readers, count):
            reached = 100 * (lines - missed) / max(lines, 1)
            print(f"| {name} | `{module}` | {lines} | {reached:.0f} % |", flush=True)
    return 0


def _covered(start: Start, readers: Sequence[str], count: int) -> Iterator[tuple[str, int, int]]:
    """Of each module how many lines its functions have, and how many of those no mutant reached."""
    files = {name: _files(name) for name in readers}
    included = [str(file) for found in files.values() for file in found]
    measured = coverage.Coverage(data_file=None, include=included, branch=False)
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-", dir=MEMORY_FOLDER) as folder:
        tried = start(Path(folder))
        measured.start()
        for number in range(count):
            tried(number)
        measured.stop()
    for name, found in files.items():
        counted, unreached = 0, 0
        for file in found:
            _, lines, _, missed, _ = measured.analysis2(str(file))
            within = _in_functions(file.read_text(encoding="utf-8"))
            counted += len(within.intersection(lines))
            unreached += len(within.intersection(missed))
        yield name, counted, unreached


def least(kind: Kind, sound: Sequence[bytes], entries: Sequence[bytes]) -> list[bytes]:
    """Of these entries (see `corpus`) those that reach a line of what reads the kind that neither the sound ones nor
    smaller ones of them reach."""
    files = [str(file) for name in kind.readers for file in _files(name)]
    measured = coverage.Coverage(data_file=None, include=files, branch=False)
    tried = [*sound, *sorted(entries, key=lambda entry: (len(entry), entry))]
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-", dir=MEMORY_FOLDER) as folder:
        bench = Bench(Path(folder))
        measured.start()
        for number, entry in enumerate(tried):
            measured.switch_context(str(number))
            bench.run(corpus.of_entry(kind, number, entry))
        measured.stop()
    data, seen, chosen = measured.get_data(), set[tuple[str, int]](), []
    for number, entry in enumerate(tried):
        data.set_query_context(str(number))
        lines = {(file, line) for file in data.measured_files() for line in data.lines(file) or ()}
        if not lines <= seen and number >= len(sound):
            chosen.append(entry)
        seen |= lines
    return chosen


def _files(name: str) -> list[Path]:
    """The file of a module; of a package all below it."""
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        return sorted(path for folder in module.__path__ for path in Path(folder).rglob("*.py"))
    return [Path(str(module.__file__))]


def _in_functions(source: str) -> set[int]:
    """The lines of functions' bodies: all others run when a module is imported."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return {line for f in functions for line in range(f.body[0].lineno, (f.end_lineno or f.lineno) + 1)}
