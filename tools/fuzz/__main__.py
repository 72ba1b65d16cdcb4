"""python -m tools.fuzz run|show|minimise|sweep|cover|numbers|kills|guided: see README.md."""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tools.fuzz import cases, differing, mutants, seeds, workers
from tools.fuzz.byte_edits import Content
from tools.fuzz.cases import Bench, Kind
from tools.fuzz.covering import cover
from tools.fuzz.kills import kills
from tools.fuzz.kinds import KINDS
from tools.fuzz.minimising import minimise, minimise_case
from tools.fuzz.outcomes import MEMORY_FOLDER, Outcome
from tools.fuzz.running import Place
from tools.fuzz.sweeping import failures, in_turn

SHOWN = 12
"""Sentences of refusals that are told, the commonest first."""


def run(first: int, count: int, jobs: int, kind: Kind | None = None) -> int:
    """Run mutants and tell what came of them; 1 where something did that must not."""
    started = time.monotonic()
    kinds: Counter[str] = Counter()
    failed: dict[tuple[str, str], list[Outcome]] = {}
    refusals: Counter[str] = Counter()
    reached = 0
    for outcome in workers.run(range(first, first + count), jobs, kind):
        kinds[outcome.kind] += 1
        reached += outcome.reached
        if outcome.failed:
            failed.setdefault((outcome.kind, outcome.where), []).append(outcome)
            print(f"mutant {outcome.number}: {outcome.kind}: {outcome.where}", file=sys.stderr)
        elif outcome.kind == "refused":
            refusals[outcome.where] += 1
        if sum(kinds.values()) % (1_000 if kind is None else 10_000) == 0:
            print(f"{sum(kinds.values())} after {time.monotonic() - started:.0f} s: {dict(kinds)}", file=sys.stderr)
    spent = time.monotonic() - started
    of = "graph" if kind is None else kind.name
    print(f"{count} mutants of kind {of} from {first}, {spent:.0f} s, {1000 * spent / count:.1f} s a thousand")
    if kind is None:
        print(f"{reached:>7}  reached the passes")
    for ended, times in kinds.most_common():
        print(f"{times:>7}  {ended}")
    print("\n".join(f"{times:>7}  refused: {message}" for message, times in refusals.most_common(SHOWN)))
    for (ended, where), found in sorted(failed.items(), key=lambda item: -len(item[1])):
        numbers = " ".join(str(outcome.number) for outcome in found[:5])
        print(f"{len(found):>7}  {ended}: {where}\n         mutants {numbers}\n         {_last(found[0].detail)}")
    return 1 if failed else 0


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else ""


def show(number: int) -> int:
    """What the mutant is and what comes of it."""
    mutant = mutants.make(number)
    print(f"seed {mutant.seed}, {len(mutant.data)} bytes")
    print("\n".join(f"edit {at}: {edit}" for at, edit in enumerate(mutant.edits)))
    print("attnfuse " + " ".join(mutant.command) + (f"\npolicy: {mutant.policy!r}" if mutant.policy else ""))
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-", dir=MEMORY_FOLDER) as folder:
        outcome = Place(Path(folder)).run(mutant)
    print(f"{outcome.kind}: {outcome.where}\n{outcome.detail}")
    return 1 if outcome.failed else 0


def show_case(kind: Kind, number: int) -> int:
    """The same of another kind."""
    case = cases.make(kind, number)
    print(f"seed {case.seed}, read as {case.read}")
    print("\n".join(f"edit {at}: {edit}" for at, edit in enumerate(case.edits)))
    sound = next(seed.files for seed in kind.seeds() if seed.name == case.seed)
    for name, content in case.files.items():
        if sound.get(name) != content:
            print(f"{name}: {_told(content)}")
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-", dir=MEMORY_FOLDER) as folder:
        outcome = Bench(Path(folder)).run(case)
    print(f"{outcome.kind}: {outcome.where}\n{outcome.detail}")
    return 1 if outcome.failed else 0


def _told(content: Content) -> str:
    return repr(content[:2_000]) if isinstance(content, bytes) else content.value


def sweep(every: int, seconds: float) -> int:
    """What rewriting does that it must not when sizes and numbers are changed one by one."""
    started, them, done, found = time.monotonic(), in_turn(every), 0, 0
    for done, failed in enumerate(failures(them), 1):
        found += len(failed)
        if failed:
            print("\n".join(failed), flush=True)
        spent = time.monotonic() - started
        if done % 1000 == 0:
            print(f"{done} of {len(them)} after {spent:.0f} s: {found} failures", file=sys.stderr)
        if spent > seconds:
            break
    print(f"{done} of {len(them)} changes, {found} failures, {time.monotonic() - started:.0f} s")
    return 1 if found else 0


def main() -> int:
    """Read the arguments."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    many = commands.add_parser("run", help="run mutants by number, and count what came of them")
    many.add_argument("--first", type=int, default=0)
    many.add_argument("--count", type=int, default=1_000)
    many.add_argument("--jobs", type=int, default=2)
    for name, message in (
        ("show", "one mutant in full"),
        ("minimise", "the fewest edits and nodes that still fail so"),
    ):
        one = commands.add_parser(name, help=message)
        one.add_argument("number", type=int)
    one.add_argument("-o", "--output", type=Path, help="write the graph, or the files, there")
    for command in commands.choices.values():
        command.add_argument("--kind", choices=["graph", *KINDS], default="graph")
    covered = commands.add_parser("cover", help="which lines of what reads a kind its mutants reach")
    covered.add_argument("--count", type=int, default=1_000, help="mutants of each kind")
    covered.add_argument("--kind", choices=["graph", *KINDS], help="of that one alone")
    all_of_them = commands.add_parser("sweep", help="sizes and numbers of small graphs, changed one by one")
    all_of_them.add_argument("--every", type=int, default=1, help="of as many changes only one")
    all_of_them.add_argument("--seconds", type=float, default=math.inf, help="after which it stops")
    numbers = commands.add_parser("numbers", help="mutants that are fused, against NumPy in float64")
    numbers.add_argument("--first", type=int, default=0)
    numbers.add_argument("--count", type=int, default=2_000, help="mutants that are fused")
    commands.add_parser("guided", help="mutants that follow coverage: see its own --help")
    killed = commands.add_parser("kills", help="kill -9 at moments drawn at random, and what it leaves")
    killed.add_argument("--count", type=int, default=900)
    killed.add_argument("--seed", type=int, default=0)
    killed.add_argument("--demo", action="store_true", help="the demo with two jobs, in place of a small graph")
    if sys.argv[1:2] == ["guided"]:  # in a process of its own: what is looked into must not be imported yet
        os.execv(sys.executable, [sys.executable, "-m", "tools.fuzz.guided", *sys.argv[2:]])
    options = parser.parse_args()
    if options.command == "kills":
        return kills(options.count, options.seed, demo=options.demo)
    if options.command == "sweep":
        return sweep(options.every, options.seconds)
    if options.command == "cover":
        return cover(["graph", *KINDS] if options.kind is None else [options.kind], options.count)
    if options.command == "numbers":
        return differing.tell(options.first, options.count)
    kind = KINDS.get(options.kind)
    if options.command == "run":
        return run(options.first, options.count, options.jobs, kind)
    if options.command == "show":
        return show(options.number) if kind is None else show_case(kind, options.number)
    if kind is not None:
        return minimise_case(kind, options.number, options.output)
    seeds.groups()
    return minimise(options.number, options.output)


if __name__ == "__main__":
    sys.exit(main())
