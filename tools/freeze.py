"""Digests of what is written: SHA-256 of every rewritten graph of tests/corpus × runtime × SoC × three policies.

    python -m tools.freeze                             write tests/golden/bytes.txt again, after a change that is meant
    python -m tools.freeze FOLDER                      the same over the .mindir files below FOLDER: one digest of all
    python -m tools.freeze FOLDER --table FILE         and keep every digest in FILE
    python -m tools.freeze FOLDER --against FILE       and tell what is no longer as FILE has it (exit code 1)

A graph has a line for each result it comes to, with the configurations that come to it. `source` is a graph that is
handed on as it was read. `refused` is one that is not taken, with the sentence that says why: an expected outcome, so
`--against` lists a graph that is refused now, and does not count it as a difference; nor is it in the digest of all. A
defect of attnfuse is never frozen: it ends the run.

The digests are of serialised messages, and so hold for one protobuf: the one of requirements.lock, which the table
names. `--jobs` are processes. The corpus takes eight minutes of one core. Imports no MindSpore.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby, product
from pathlib import Path

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.errors import SourceError, TraceError
from attnfuse.policy import Policy, policy_of
from attnfuse.rewriting import rewrite
from attnfuse.source_files import SUFFIX
from attnfuse.targets import RUNTIMES, SOCS, Target
from tools.corpus import store

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "golden" / "bytes.txt"
SOURCE = "source"
REFUSED = "refused"

POLICIES: Mapping[str, Policy] = {
    "default": Policy(),
    "no_cast": policy_of({"defaults": {"force_cast_dtype": "none"}}, "no_cast"),
    "rules": policy_of(
        {
            "defaults": {"force_cast_dtype": "bfloat16"},
            "rules": [
                {"match": "*.attn2", "flash": False},
                {"match": "*.1.*", "flash": False},
                {"match": "*.0.*", "assume_no_fully_masked_rows": True},
                {"match": "*", "attention": "cross", "dtype": "float32", "force_cast_dtype": "float16"},
                {"match": "*", "min_sequence_length": 4096, "flash": True},
            ],
        },
        "rules",
    ),
}
"""What each graph is compiled under: nothing, no casts, and a rule of every kind."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to compile a graph; `policy` is a key of POLICIES."""

    runtime: str
    policy: str
    soc: str


CONFIGURATIONS = tuple(Configuration(*parts) for parts in product(RUNTIMES, POLICIES, SOCS))

Outcomes = dict[Configuration, str]


@cache
def _passes() -> tuple[pass_manager.Pass, ...]:
    return pass_manager.discover()


def outcome(data: bytes, configuration: Configuration) -> str:
    """The SHA-256 of the graph that is written, `source` where that is the one read, or `refused: why`.

    Raises InternalError for a defect.
    """
    component = Component(name="corpus", owner="corpus", where="the graph", data=data, graph_name="corpus.mindir")
    target = Target(configuration.runtime, configuration.soc)
    try:
        _, written = rewrite(component, POLICIES[configuration.policy], target, _passes())
    except (SourceError, TraceError) as error:
        return f"{REFUSED}: {' '.join(str(error).split())}"
    return SOURCE if written == data else hashlib.sha256(written).hexdigest()


def outcomes(data: bytes, configurations: Iterable[Configuration] = CONFIGURATIONS) -> Outcomes:
    """What one graph comes to in each configuration."""
    return {configuration: outcome(data, configuration) for configuration in configurations}


def protobuf_version() -> str:
    """The version of protobuf in requirements.lock."""
    match = re.search(r"^protobuf==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert match, "requirements.lock names no protobuf"
    return match[1]


def render(by_graph: Mapping[str, Outcomes]) -> str:
    """The table: per graph the digests it comes to, each with `runtime policy SoC,SoC,…`, in order of configuration."""
    lines = [f"# Written by tools/freeze.py (see there); protobuf {protobuf_version()}."]
    for name in sorted(by_graph):
        found = by_graph[name]
        lines += ["", name]
        for result in dict.fromkeys(found.values()):
            lines.append(f"  {result}")
            lines += [f"    {text}" for text in _told(c for c, r in found.items() if r == result)]
    return "\n".join(lines) + "\n"


def _told(configurations: Iterable[Configuration]) -> Iterable[str]:
    """The configurations of one result, those that differ in the SoC alone on one line."""
    for (runtime, policy), group in groupby(configurations, key=lambda c: (c.runtime, c.policy)):
        yield f"{runtime} {policy} {','.join(c.soc for c in group)}"


def parse(text: str) -> dict[str, Outcomes]:
    """The table that `render` wrote."""
    by_graph: dict[str, Outcomes] = {}
    name = result = ""
    for line in text.splitlines()[1:]:
        if line.startswith("    "):
            runtime, policy, socs = line.split()
            by_graph[name] |= {Configuration(runtime, policy, soc): result for soc in socs.split(",")}
        elif line.startswith("  "):
            result = line.strip()
        elif line:
            name = line
            by_graph[name] = {}
    return {name: {c: found[c] for c in CONFIGURATIONS if c in found} for name, found in by_graph.items()}


def compare(now: Mapping[str, Outcomes], frozen: Mapping[str, Outcomes]) -> tuple[list[str], list[str]]:
    """What is no longer as it was frozen, and what is refused now, a line each."""
    differences = [f"{name}: only one of the two tables has it" for name in sorted(now.keys() ^ frozen.keys())]
    refused = []
    for name in sorted(now.keys() & frozen.keys()):
        for configuration in CONFIGURATIONS:
            found, was = now[name].get(configuration, "nothing"), frozen[name].get(configuration, "nothing")
            place = f"{name} {configuration.runtime} {configuration.policy} {configuration.soc}"
            if found.startswith(REFUSED) and found != was:
                refused.append(f"{place}: {found}")
            elif found != was:
                differences.append(f"{place}: {was} before, {found} now")
    return differences, refused


def digest_of_all(by_graph: Mapping[str, Outcomes]) -> str:
    """One SHA-256 over every result that is not a refusal, with its graph and configuration."""
    whole = hashlib.sha256()
    for name in sorted(by_graph):
        for c, result in by_graph[name].items():
            if not result.startswith(REFUSED):
                whole.update(f"{name} {c.runtime} {c.policy} {c.soc} {result}\n".encode())
    return whole.hexdigest()


def _of_file(folder: Path, name: str) -> Outcomes:
    return outcomes((folder / name).read_bytes())


def _of_corpus(name: str) -> Outcomes:
    return outcomes(store.read(name))


def _all(names: Sequence[str], compute: Callable[[str], Outcomes], jobs: int) -> dict[str, Outcomes]:
    with ProcessPoolExecutor(jobs) as pool:
        return dict(zip(names, pool.map(compute, names), strict=True))


def main() -> int:
    """Write the table of the corpus, or tell of a folder's graphs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--table", type=Path, help="write every digest there")
    parser.add_argument("--against", type=Path, help="an earlier table of the same graphs")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.folder is None:
        by_graph = _all(store.names(), _of_corpus, options.jobs)
        options.table = options.table or TABLE
    else:
        folder: Path = options.folder
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*{SUFFIX}"))
        by_graph = _all(names, partial(_of_file, folder), options.jobs)
    for name, found in by_graph.items():
        for result in sorted({r for r in found.values() if r.startswith(REFUSED)}):
            print(f"{name}: {result}")
    if options.table is not None:
        options.table.write_text(render(by_graph), encoding="utf-8")
    print(f"{len(by_graph)} graphs × {len(CONFIGURATIONS)} configurations: {digest_of_all(by_graph)}")
    if options.against is None:
        return 0
    differences, refused = compare(by_graph, parse(options.against.read_text(encoding="utf-8")))
    print("\n".join([*(f"refused now: {line}" for line in refused), *differences]))
    print(f"{len(differences)} differences, {len(refused)} refused now")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
