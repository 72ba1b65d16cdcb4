"""Breaks the passes one place at a time and tells which breaks no test notices: python tools/mutate.py [FILE]...

Each mutant changes one comparison, condition, constant, return or statement of a copy of the passes; the fast tests and
then some random spellings are run on it. What survives is printed with its line: each is a missing test, or a change
that changes nothing. The checkout itself is never touched. `--checks` leaves only what deletes a check or decides it;
`--minutes` bounds the run, and then mutants are drawn evenly over the files.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from random import Random

ROOT = Path(__file__).resolve().parents[1]
PASSES = ROOT / "passes" / "attnfuse_passes"
TESTS = (
    [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/passes"],
    [sys.executable, "tools/spell.py", "--examples", "300", "--jobs", "1"],
)
SECONDS = 120
CHECKS = (ast.If, ast.Raise, ast.BoolOp)

_SWAPS: dict[type, type] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed file: where, what it said, what it says now, and the whole text."""

    path: Path
    line: int
    before: str
    after: str
    text: str
    check: bool
    deletion: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.before}  →  {self.after}"


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Every way a node is broken."""
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                if type(op) in _SWAPS:
                    broken = copy.deepcopy(node)
                    broken.ops[index] = _SWAPS[type(op)]()
                    yield broken
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(_SWAPS[type(op)](), values)
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SWAPS:
            yield ast.BinOp(left, _SWAPS[type(op)](), right)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.If(test=test):
            for value in (True, False):
                broken_if = copy.copy(node)
                broken_if.test = ast.Constant(value)
                yield broken_if
            if not isinstance(test, ast.UnaryOp):
                broken_if = copy.copy(node)
                broken_if.test = ast.UnaryOp(ast.Not(), test)
                yield broken_if
        case ast.IfExp(body=body, orelse=orelse):
            yield body
            yield orelse
        case ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign():
            yield ast.Pass()
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))


def mutants(path: Path) -> Iterator[Mutant]:
    """Every mutant of a file, in order."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        # What an error says, and what types are called, is no behaviour that these tests are about.
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in _TEXT:
            skipped.update(id(inner) for inner in ast.walk(node))
        if isinstance(node, ast.FunctionDef):
            skipped.update(
                id(inner) for part in (node.returns, *node.decorator_list) if part for inner in ast.walk(part)
            )
        if isinstance(node, ast.JoinedStr):
            skipped.update(id(inner) for inner in ast.walk(node))
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            skipped.update(id(inner) for inner in ast.walk(node.annotation))
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.AST) or id(node) in skipped:
                    continue
                for broken in changes(node):
                    _put(parent, field, index, broken)
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    _put(parent, field, index, node)
                    line: int = getattr(node, "lineno", 0)
                    kinds = isinstance(node, CHECKS), _is_deletion(node, broken)
                    yield Mutant(path, line, _line(node), _line(broken), text, *kinds)


_TEXT = {"Obligation", "AppliedIdentity", "FailureReason", "MatchFailure", "Code", "identity"}


def _is_deletion(node: ast.AST, broken: ast.AST) -> bool:
    """Whether a check that refuses (raises, or returns nothing or False) is taken out altogether."""
    if not isinstance(node, ast.If) or not isinstance(broken, ast.If) or ast.unparse(broken.test) != "False":
        return False
    last = node.body[-1]
    refuses = isinstance(last, ast.Return) and (
        last.value is None or ast.unparse(last.value) in ("None", "False", "[]")
    )
    return refuses or isinstance(last, ast.Raise)


def _put(parent: ast.AST, field: str, index: int, node: ast.AST) -> None:
    value = getattr(parent, field)
    if isinstance(value, list):
        value[index] = node
    else:
        setattr(parent, field, node)


def _line(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]
    return text if len(text) < 90 else text[:87] + "…"


def survives(mutant: Mutant, tree: Path) -> bool:
    """Whether the tests pass on a copy of the passes with this mutant in it."""
    target = tree / "passes" / mutant.path.relative_to(PASSES.parent)
    original = mutant.path.read_text(encoding="utf-8")
    target.write_text(mutant.text, encoding="utf-8")
    # The copy's passes come first; the engine and the tests are the checkout's own.
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tree / "passes"), str(tree)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        return all(
            subprocess.run(command, cwd=tree, env=env, capture_output=True, timeout=SECONDS, check=False).returncode
            == 0
            for command in TESTS
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        target.write_text(original, encoding="utf-8")


def copy_tree(folder: Path) -> Path:
    """What the tests need, in a folder of its own."""
    for name in ("attnfuse", "passes", "tests", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "corpus"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def main() -> int:
    """Run the mutants and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="default: all of the passes")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long; 0: run all")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--deletions", action="store_true", help="only whole checks taken out")
    parser.add_argument("--checks", action="store_true", help="only conditions and what they raise")
    parser.add_argument("--line", type=int, default=0, help="only mutants of this line")
    options = parser.parse_args()
    files = [path.resolve() for path in options.files] or sorted(PASSES.rglob("*.py"))
    found = [m for path in files for m in mutants(path) if options.line in (0, m.line)]
    found = [m for m in found if m.check >= options.checks and m.deletion >= options.deletions]
    total = len(found)
    if options.minutes:
        Random(0).shuffle(found)
    started = time.monotonic()
    survivors: list[Mutant] = []
    done = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for job in range(options.jobs):
            trees.put(copy_tree(Path(folder) / str(job)))

        def judge(mutant: Mutant) -> bool | None:
            if options.minutes and time.monotonic() - started > 60 * options.minutes:
                return None
            tree = trees.get()
            try:
                return survives(mutant, tree)
            finally:
                trees.put(tree)

        for mutant, verdict in zip(found, pool.map(judge, found), strict=True):
            done += verdict is not None
            if verdict:
                survivors.append(mutant)
                print(mutant, flush=True)
    print(f"{total} mutants, {done} run, {len(survivors)} survived, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
