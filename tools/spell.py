"""Random spellings of attention and near misses, as many as one has time for: python tools/spell.py --examples 100000

Each example has a number, which makes it again: python tools/spell.py --first 4711 --examples 1 --show
Every third is a near miss. Each is fused for both runtimes and computed before and after in float64.
Exit code 1 where a law is broken; the numbers of those examples are printed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "passes")]

from attnfuse.ir.text import region_lines  # noqa: E402
from tests.support.laws import check  # noqa: E402
from tests.support.mutations import EITHER_OR, MUST_REFUSE  # noqa: E402
from tests.support.spellings import Spelling, spell  # noqa: E402

CHUNK = 250


def example(number: int) -> Spelling:
    """The spelling of that number."""
    random = Random(number)
    mutation = random.choice((*MUST_REFUSE, *EITHER_OR)) if number % 3 == 2 else None
    return spell(random, mutation)


def run(numbers: range) -> tuple[Counter[str], list[str]]:
    """Outcomes of the examples, and what failed."""
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in numbers:
            for runtime in ("mindspore", "lite"):
                try:
                    spelling = example(number)
                    kind = "spelling" if spelling.mutation is None else "near miss"
                    outcomes[f"{kind}: {check(spelling, runtime)}"] += 1
                except Exception as error:
                    line = next((text for text in str(error).splitlines() if text.strip()), "")
                    failures.append(f"example {number} for {runtime}: {type(error).__name__}: {line}")
    return outcomes, failures


def chunks(first: int, count: int) -> Iterator[range]:
    """The numbers in pieces of one task each."""
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


def main() -> int:
    """Run the examples and tell what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long; 0: run all")
    parser.add_argument("--show", action="store_true", help="print the graphs")
    options = parser.parse_args()
    if options.show:
        for number in range(options.first, options.first + options.examples):
            spelling = example(number)
            model = spelling.model()
            print(f"example {number}: {spelling.mutation or 'no mutation'}\n{spelling.form}")
            print("\n".join(region_lines(model, model.nodes)))
    started = time.monotonic()
    outcomes: Counter[str] = Counter()
    failures, done = 0, 0
    with ProcessPoolExecutor(options.jobs) as pool:
        waiting = deque(chunks(options.first, options.examples))
        running: deque[tuple[int, Future[tuple[Counter[str], list[str]]]]] = deque()
        while waiting or running:
            if options.minutes and time.monotonic() - started > 60 * options.minutes:
                waiting.clear()
            while waiting and len(running) <= options.jobs:
                numbers = waiting.popleft()
                running.append((len(numbers), pool.submit(run, numbers)))
            if running:
                count, future = running.popleft()
                found, failed = future.result()
                outcomes += found
                failures += len(failed)
                done += count
                if failed:
                    print("\n".join(failed), flush=True)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:8}  {outcome}")
    print(f"{done} examples, {failures} failures, {time.monotonic() - started:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
