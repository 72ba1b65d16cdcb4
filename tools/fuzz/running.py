"""A mutant goes through the command line, in this process, and what came of it is told.

The command line is the whole path: arguments, parsing, passes, checks, report, files.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from attnfuse import cli, compiler, pass_manager
from attnfuse.cli.request import policy_of
from attnfuse.compiler import CompileRequest
from attnfuse.cost.compare import DEFECT
from attnfuse.errors import SourceError, UsageError
from attnfuse.live.given import cast_name
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from attnfuse.targets import Target
from tools.fuzz.cases import through_errors
from tools.fuzz.mutants import CENSUS, Mutant
from tools.fuzz.outcomes import Answer, Outcome, answer, said, without_names
from tools.fuzz.seeds import WEIGHTS

_EXPLAINED = 3


class _Passes:
    """What runs the passes, and notes that it was asked to."""

    def __init__(self) -> None:
        self._run = pass_manager.run
        self.reached = False

    def __call__(self, *arguments: Any) -> bool:
        self.reached = True
        return self._run(*arguments)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which mutants are run one after the other."""

    folder: Path

    def run(self, mutant: Mutant) -> Outcome:
        """Run the mutant's command; the folder is then as it was."""
        graph = self.folder / "graph.mindir"
        graph.write_bytes(mutant.data)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "policy.toml").unlink()
        if mutant.policy is not None:
            (self.folder / "policy.toml").write_text(mutant.policy, encoding="utf-8")
        variables = self.folder / WEIGHTS
        variables.parent.mkdir(exist_ok=True)
        if not variables.exists() or variables.stat().st_size != mutant.weights:
            variables.unlink(missing_ok=True)  # not truncated: an output may be linked to it
            with variables.open("wb") as file:
                file.truncate(mutant.weights)
        paths = {"GRAPH": graph, "OUT": self.folder / "out" / "it", "POLICY": self.folder / "policy.toml"}
        paths["OUT.mindir"] = self.folder / "out" / "it.mindir"
        temporary = self.folder / "tmp"
        for folder in (temporary, self.folder / "out"):
            folder.mkdir(exist_ok=True)
        passes = _Passes()
        try:
            with mock.patch.object(pass_manager, "run", passes):
                outcome = self._judge(mutant, [str(paths.get(a, a)) for a in mutant.command], temporary)
            return replace(outcome, reached=passes.reached)
        finally:
            shutil.rmtree(temporary)
            shutil.rmtree(self.folder / "out")

    def _judge(self, mutant: Mutant, arguments: list[str], temporary: Path) -> Outcome:
        found = answer(mutant.number, lambda: _all_of(arguments), temporary)
        if isinstance(found, Outcome):
            return found
        written = sorted(path.name for path in (self.folder / "out").iterdir())
        if found.code != 0 and written:
            return Outcome(mutant.number, "left behind", "", f"exit {found.code}: {written}")
        if DEFECT in (printed := " ".join(f"{found.stdout} {found.stderr}".split())):  # lines are wrapped
            message = printed[printed.index(DEFECT) :][:200]
            return Outcome(mutant.number, "defect", message, message)
        if found.code == 0:
            return Outcome(mutant.number, "written")
        return _refusal(mutant, found)


def _all_of(arguments: list[str]) -> Answer:
    """What the command says; of explain, what it says of the first sites."""
    if arguments[0] == CENSUS:
        return said(
            partial(
                through_errors,
                partial(_census, Path(arguments[1]), dict(zip(arguments[2::2], arguments[3::2], strict=True))),
            )
        )
    found = said(partial(cli.run, arguments))
    sites = re.findall(r"^\S+ +\S+ +(\S.*)$", found.stdout, re.MULTILINE) if arguments[0] == "explain" else []
    for site in sites[:_EXPLAINED]:
        found = said(partial(cli.run, [*arguments, "--", site]))
    return found


def _census(graph: Path, options: Mapping[str, str]) -> None:
    """What `attnfuse inspect` does but for its tables: the report is written as JSON."""
    file, cast = (options.get(name) for name in ("--policy", "--force-cast-dtype"))
    no_flash = [options["--no-flash"]] if "--no-flash" in options else []
    cast_to = None if cast is None else cast_name(cast)
    request = CompileRequest(
        source=str(graph),
        target=Target(options["--runtime"], options["--soc"]),
        policy=policy_of(None if file is None else Path(file), cast_to, no_flash, ()),
        jobs=1,
    )
    sys.stdout.write(compiler.inspect(request).report.to_bytes().decode())


def _refusal(mutant: Mutant, found: Answer) -> Outcome:
    told, message = without_names(found.sentence), found.stderr.strip()
    if found.code not in (UsageError.exit_code, SourceError.exit_code) or not found.is_a_sentence:
        return Outcome(mutant.number, "half a sentence", f"exit {found.code}: {told}", message)
    if found.code == UsageError.exit_code:
        return Outcome(mutant.number, "usage", told, message)
    if not mutant.parses:
        return Outcome(mutant.number, "no message", told, message)
    named = names_a_place(found.sentence, codec.parse(mutant.data, "a mutant"))
    return Outcome(mutant.number, "refused" if named else "no place named", told, message)


def names_a_place(sentence: str, message: ModelProto) -> bool:
    """Whether the sentence has the name of a node, value, parameter, function or primitive of the file."""
    for graph in (message.graph, *message.functions):
        names = [graph.name, *(primitive.name for primitive in message.primitives)]
        names += [value.name for values in (graph.input, graph.output) for value in values]
        names += [parameter.name for parameter in graph.parameter]
        for node in graph.node:
            names += [*node.output, *node.input, node.name]
        for name in names:
            for told in (name, name.split(":", 1)[1] if name.count(":") >= 2 else name, name.partition(":")[2]):
                if told and (" ".join(told.split()) in sentence or repr(told)[1:-1] in sentence):
                    return True
    return False
