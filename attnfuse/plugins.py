"""What extends attnfuse: installed distributions, found through the entry points of five groups.

    attnfuse.passes       a pass, that is a class as `attnfuse.pass_manager.Pass` describes it
    attnfuse.identities   an identity by which the pass `fuse` reads attention
    attnfuse.rewrites     a class as `attnfuse.contract.Rewrite` describes it, which the pass `legalise` runs
    attnfuse.operators    a row of the operator table
    attnfuse.reporters    a class as `Reporter` describes it, which makes one more document of the report

The name of an entry point is the name of what it gives. attnfuse's own passes come in by the same door. Whatever is
wrong with an extension is told with the name of the distribution that brings it.
"""

from __future__ import annotations

import copy
import re
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from attnfuse.errors import InternalError, PluginError, UsageError
from attnfuse.ir.operators import table
from attnfuse.ir.operators.arguments import Arguments
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.types import ScalarType, Special, TensorType, ValueType
from attnfuse.names import suggestion
from attnfuse.processes import Terminated

PASSES: Final = "attnfuse.passes"
IDENTITIES: Final = "attnfuse.identities"
REWRITES: Final = "attnfuse.rewrites"
OPERATORS: Final = "attnfuse.operators"
REPORTERS: Final = "attnfuse.reporters"
GROUPS: Final = {
    OPERATORS: "operator",
    IDENTITIES: "identity",
    REWRITES: "rewrite",
    PASSES: "pass",
    REPORTERS: "reporter",
}
"""Each group with the word for one of its extensions, in the order they are loaded."""
_OURS = "attnfuse"

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, order=True)
class Plugin:
    """An installed distribution, other than attnfuse, that extends it."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Extension:
    """One thing that is brought: `value` is what the entry point gives. `plugin` is None for attnfuse's own."""

    group: str
    name: str
    module: str
    value: Any
    plugin: Plugin | None

    @property
    def package(self) -> str:
        """The top package of the module that defines it."""
        return self.module.partition(".")[0]

    def made(self) -> Any:
        """An instance of the class that it is, made without arguments. Raises PluginError where that fails."""
        try:
            return self.value()
        except Exception as error:
            raise self.refused(f"cannot be made ({type(error).__name__}: {error})") from error

    def refused(self, why: str) -> PluginError | InternalError:
        """The error that says why it cannot be used; `why` goes on behind its name."""
        what = f"the {GROUPS[self.group]} {self.name!r}"
        if self.plugin is None:
            return InternalError(f"{what} {why}.")
        return PluginError(f"{what} of the plugin {self.plugin.name!r} {why}; update or uninstall the plugin.")


TakeExtensions: TypeAlias = Callable[[Sequence[Extension]], None]
"""Has a pass work with the extensions of plugins of one group, and with no others that it took before.

Raises what `Extension.refused` gives where one is not what the pass takes.
"""


@runtime_checkable
class Reporter(Protocol):
    """Makes one more document of the report. Constructed without arguments.

    `file` is the plain name of the file it is written to, in the output; beside a single graph `STEM.` goes before it.
    `summary` is its line in `attnfuse plugins`. The same report must give the same bytes: no time, no path.
    """

    name: ClassVar[str]
    file: ClassVar[str]
    summary: ClassVar[str]

    def render(self, report: Mapping[str, Any]) -> bytes:
        """The file's content, of the finished report as `report.json` has it."""


@dataclass(frozen=True, slots=True)
class Extensions:
    """All that is installed, by group and then in a fixed order: attnfuse's own first, then by name."""

    all: tuple[Extension, ...]

    def of(self, group: str) -> tuple[Extension, ...]:
        """Those of one group."""
        return tuple(extension for extension in self.all if extension.group == group)

    @property
    def shaping(self) -> tuple[Extension, ...]:
        """Those that may have a say in what a graph becomes: all but reporters."""
        return tuple(extension for extension in self.all if extension.group != REPORTERS)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plugins that may have a say in what a graph becomes, by name."""
        return tuple(sorted({extension.plugin for extension in self.shaping if extension.plugin is not None}))

    def brought(self, group: str, by: Container[str] | None = None) -> tuple[Extension, ...]:
        """Those of one group that plugins bring; with `by`, plugins of these names."""
        return tuple(e for e in self.of(group) if e.plugin is not None and (by is None or e.plugin.name in by))

    def raiser(self, error: BaseException) -> Plugin | None:
        """The plugin whose code an exception comes out of, if any: the innermost frame of one decides."""
        packages = {extension.package: extension.plugin for extension in self.all if extension.plugin is not None}
        for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
            plugin = packages.get(str(frame.f_globals.get("__name__", "")).partition(".")[0])
            if plugin is not None:
                return plugin
        return None


@cache
def load() -> Extensions:
    """All installed extensions, loaded; once in a process. Operators are in their table from now on.

    Raises UsageError where two give one name, PluginError for one that cannot be loaded or is not what its group takes.
    """
    entries = list(_entries())
    _check_names(entries)
    found = Extensions(tuple(_load(group, entry) for group, entry in entries))
    for extension in found.of(OPERATORS):
        row = _checked(extension, Operator, "is no row of the operator table")
        if row.name != extension.name:
            raise extension.refused(f"is a row for {row.name!r}")
        if row.name in table.OPERATORS:
            raise extension.refused("has a row in attnfuse already")
    table.extend([_checked_row(extension) for extension in found.of(OPERATORS)])
    return found


def _checked_row(extension: Extension) -> Operator:
    """The row, whose inference is a plugin's: what it gives is a type, or the plugin is refused."""
    row: Operator = extension.value

    def infer(arguments: Arguments) -> ValueType:
        value_type = row.infer(arguments)
        if not _is_kind(value_type):
            raise extension.refused(f"infers {value_type!r}, which is no type of attnfuse.api")
        return value_type

    return replace(row, infer=infer)


def _is_kind(kind: object) -> bool:
    if isinstance(kind, tuple):
        return all(map(_is_kind, kind))
    return kind is None or isinstance(kind, TensorType | ScalarType | Special)


def _entries() -> Iterator[tuple[str, EntryPoint]]:
    installed = entry_points()
    for group in GROUPS:
        yield from ((group, entry) for entry in sorted(installed.select(group=group), key=_order))


def _order(entry: EntryPoint) -> tuple[bool, str, str]:
    return _plugin(entry) is not None, entry.name, _distribution(entry)


def _check_names(entries: Iterable[tuple[str, EntryPoint]]) -> None:
    first: dict[tuple[str, str], EntryPoint] = {}
    for group, entry in entries:
        other = first.setdefault((group, entry.name), entry)
        if other is not entry:
            raise UsageError(
                f"the {GROUPS[group]} {entry.name!r} is given twice, by {_distribution(other)!r} and "
                f"{_distribution(entry)!r}; uninstall one of them."
            )


def _load(group: str, entry: EntryPoint) -> Extension:
    try:
        value = entry.load()
    except Terminated:
        raise
    except (Exception, SystemExit) as error:
        message = f"cannot be loaded ({entry.value}: {type(error).__name__}: {error})"
        raise Extension(group, entry.name, entry.module, None, _plugin(entry)).refused(message) from error
    return Extension(group, entry.name, entry.module, value, _plugin(entry))


def _distribution(entry: EntryPoint) -> str:
    """Its name; the package, where nothing is known of a distribution."""
    return entry.module.partition(".")[0] if entry.dist is None else entry.dist.name


def _plugin(entry: EntryPoint) -> Plugin | None:
    name = _distribution(entry)
    return None if name == _OURS else Plugin(name, "" if entry.dist is None else entry.dist.version)


def _checked(extension: Extension, kind: type[_Value], why: str) -> _Value:
    if not isinstance(extension.value, kind):
        raise extension.refused(why)
    return extension.value


def made(extension: Extension, kind: type[_Value], missing: str, name: str) -> _Value:
    """An instance of the class that an extension is, made without arguments; `name` is the attribute that names it.

    Raises PluginError where it cannot be made, is not as `kind` describes it (`missing` says what that is), or bears
    another name than its entry point.
    """
    instance = extension.made()
    if not isinstance(instance, kind):
        raise extension.refused(f"has no {missing}")
    if getattr(instance, name) != extension.name:
        raise extension.refused(f"calls itself {getattr(instance, name)!r}")
    return instance


@dataclass(frozen=True, slots=True)
class Document:
    """What a reporter writes: `file` as it names it."""

    extension: Extension
    reporter: Reporter

    @property
    def file(self) -> str:
        return self.reporter.file

    def content(self, report: Mapping[str, Any]) -> bytes:
        """The file's content. Raises PluginError where the reporter fails or gives something else than bytes."""
        try:
            content = self.reporter.render(copy.deepcopy(dict(report)))
        except Exception as error:
            raise self.extension.refused(f"failed ({type(error).__name__}: {error})") from error
        if not isinstance(content, bytes):
            raise self.extension.refused(f"gave {type(content).__name__} and no bytes")
        return content


def documents(reporters: Sequence[str]) -> tuple[Document, ...]:
    """What the reporters of these names write, each once.

    Raises UsageError for one that is not installed, and where two write one file; PluginError for one that is none.
    """
    installed = {extension.name: extension for extension in load().of(REPORTERS)}
    found: list[Document] = []
    for name in dict.fromkeys(reporters):
        extension = installed.get(name)
        if extension is None:
            raise UsageError(f"there is no reporter {name!r}; {suggestion(name, installed)}")
        reporter = made(extension, Reporter, "name, file, summary or render", "name")  # type: ignore[type-abstract]
        if not re.fullmatch(r"[\w-][\w.-]*", reporter.file):
            raise extension.refused(f"would write {reporter.file!r}, which is no plain name of a file")
        if reporter.file in (one.file for one in found):
            raise UsageError(f"two of the reporters write {reporter.file}; ask for one of them.")
        found.append(Document(extension, reporter))
    return tuple(found)
