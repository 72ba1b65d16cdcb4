"""Imports of mindone name by name: a package that gathers names imports a module when a name of it is asked for.

`mindone.transformers` imports its 300 models, and `mindone.diffusers`, which gets at it through packages of its own,
does the same for one UNet: five seconds. Here the `__init__.py` of such a package is run as it stands, but for
`from .module import name`: it waits until somebody asks for `name` (PEP 562). Every name is there whenever it is asked
for, and is the same object as ever; only modules that nobody asks for are not imported. A module that cannot be
imported alone, as it counts on others before it, is imported after all others. `scipy.stats`, which schedulers import
and networks have no use for, waits as a whole. What transformers reads of its 1400 files to know their names it reads
twice, line by line; here once, and from the line on that it looks for. Nothing on disk is changed.

Worker side, but imports nothing but the standard library: it must be in force before mindone is imported.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_GATHERING: Final = "mindone"
_WAITING: Final = "scipy.stats"
_READING: Final = "transformers.utils.import_utils"

_LOOKED_INTO: Final = "transformers.models.auto.modeling_auto"
"""Decorators of models look into it, and find it only where somebody imported it before: without PyTorch transformers'
package of it has a stand-in in its place. One of mindone's modules that wait does that otherwise."""

_WAIT: Final = "__attnfuse_wait__"
"""The function that a package calls in place of an import that waits."""

_ALL = re.compile(r"^__all__ = (\[[^\]]*\])", re.MULTILINE)


def by_name() -> None:
    """Import what is imported of mindone from now on like that, in this process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds modules where Python does, and has some run in another way."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder`; None leaves a module to the finders that follow."""
        if fullname.startswith(f"{_WAITING}."):
            getattr(sys.modules[_WAITING], "__all__", None)  # the package is run before a module of it
            return None
        if fullname.partition(".")[0] != _GATHERING and fullname not in (_WAITING, _READING):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        if spec.submodule_search_locations is None and fullname != _READING:
            return None
        kind = {_WAITING: _Later, _READING: _Reader}.get(fullname, _Gatherer)
        spec.loader = kind(spec.loader.name, spec.loader.path)
        return spec


class _Later(SourceFileLoader):
    """Runs a module when something of it is asked for."""

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""

        def get(name: str) -> Any:
            del vars(module)["__getattr__"]
            SourceFileLoader.exec_module(self, module)
            return getattr(module, name)

        vars(module)["__getattr__"] = get


class _Reader(SourceFileLoader):
    """Runs the module with which transformers reads the names in its files, and spares that what it does in vain."""

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        super().exec_module(module)
        names, structure = (vars(module).get(name) for name in ("fetch__all__", "create_import_structure_from_path"))
        if names is None or structure is None:  # it reads them in another way
            return
        read = cache(structure)  # who asks copies what is told

        def fetch(text: str) -> Any:
            return names(text[text.rfind("\n__all__") + 1 :])  # which is the last line that begins so

        def create(place: str | os.PathLike[str]) -> Any:
            return read(str(Path(place).parent if Path(place).is_file() else Path(place)))

        vars(module).update({"fetch__all__": fetch, "create_import_structure_from_path": create})


class _Gatherer(SourceFileLoader):
    """Runs the `__init__.py` of a package, with imports that wait."""

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        if module.__name__ == "mindone.transformers":
            import_module(_LOOKED_INTO)
        file = Path(self.path)
        tree = ast.parse(file.read_bytes(), self.path)
        if _looks_up(tree):
            super().exec_module(module)
            return
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        tree.body = _with_waits(tree.body, file.parent, used, {path.stem for path in file.parent.iterdir()})
        waiting = _Waiting(module)
        vars(module).update({_WAIT: waiting.add, "__getattr__": waiting.get, "__dir__": waiting.names})
        exec(compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True), vars(module))


def _looks_up(tree: ast.Module) -> bool:
    """Whether a package finds names in a way of its own: mindone's lazy ones take their own place in `sys.modules`."""
    return any(
        (isinstance(node, ast.FunctionDef) and node.name in ("__getattr__", "__dir__"))
        or (isinstance(node, ast.Attribute) and node.attr == "modules")
        for node in ast.walk(tree)
    )


def _with_waits(body: Sequence[ast.stmt], folder: Path, used: set[str], modules: set[str]) -> list[ast.stmt]:
    """The statements of a package, with a call in place of each import that can wait.

    What the file itself has `used` cannot, nor what is called like one of the package's `modules` and is not that:
    whoever imports the module puts it in its place.
    """
    made: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.If):
            statement.body = _with_waits(statement.body, folder, used, modules)
            statement.orelse = _with_waits(statement.orelse, folder, used, modules)
        elif isinstance(statement, ast.ImportFrom) and statement.level:
            names = _names(statement, folder) or {}
            own = statement.level == 1 and not statement.module and modules.issuperset(names.values())
            if names and not names.keys() & (used if own else used | modules):
                place = "." * statement.level + (statement.module or "")
                (call,) = ast.parse(f"{_WAIT}({place!r}, {names!r})").body
                statement = ast.copy_location(call, statement)
        made.append(statement)
    return made


def _names(statement: ast.ImportFrom, folder: Path) -> dict[str, str] | None:
    """What an import brings, each with its name where it comes from; None where only running it would tell."""
    if statement.names[0].name != "*":
        return {alias.asname or alias.name: alias.name for alias in statement.names}
    found = None if statement.level > 1 else _public(folder.joinpath(*(statement.module or "").split(".")))
    return None if found is None else {name: name for name in found}


def _public(module: Path) -> list[str] | None:
    """What a star brings of a module: its `__all__`, or what a package imports that does nothing else, and from where.

    None where only running it would tell.
    """
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    text = file.read_text(encoding="utf-8")
    if text.count("__all__") == 1 and (written := _ALL.search(text)):
        return [str(name) for name in ast.literal_eval(written.group(1))]
    body = ast.parse(text).body if module.is_dir() and "__all__" not in text else []
    found: list[str] = []
    for statement in body:
        if not (isinstance(statement, ast.ImportFrom) and statement.level == 1):
            return None
        names = _names(statement, module)
        if names is None:
            return None
        found += [name for name in (*names, *(statement.module or "").split(".")[:1]) if not name.startswith("_")]
    return found or None


class _Waiting:
    """The names of one package that wait."""

    def __init__(self, package: ModuleType) -> None:
        self._package = package
        self._places: dict[str, tuple[str, str]] = {}
        self._modules: set[str] = set()

    def add(self, place: str, names: Mapping[str, str]) -> None:
        """Have names wait, each with what it is called in the module at `place`, which is relative to the package."""
        for name, original in names.items():
            vars(self._package).pop(name, None)  # of an import before this one
            self._places[name] = (place, original)
        if place.strip(".") and not place.startswith(".."):
            self._modules.add(place[1:].partition(".")[0])

    def get(self, name: str) -> Any:
        """The package's `__getattr__`: what waits, and modules that an import would have made attributes."""
        if name == "__all__":  # for a star; a package that has one of its own does not ask here
            return [name for name in self.names() if not name.startswith("_")]
        if name in self._places:
            value = self._found(name)
        elif name in self._modules:
            value = import_module(f".{name}", self._package.__name__)
        else:
            raise AttributeError(f"module {self._package.__name__!r} has no attribute {name!r}")
        setattr(self._package, name, value)
        return value

    def names(self) -> list[str]:
        """The package's `__dir__`."""
        return sorted({*vars(self._package), *self._places, *self._modules})

    def _found(self, name: str) -> Any:
        place, original = self._places[name]
        try:
            return _imported(place, self._package.__name__, original)
        except ImportError:
            for other in dict.fromkeys(place for place, _ in self._places.values()):  # all before it, as without us
                if other == place:
                    break
                import_module(other, self._package.__name__)
            return _imported(place, self._package.__name__, original)


def _imported(place: str, package: str, name: str) -> Any:
    """What `from place import name` gives in a package: an attribute of a module, or a module of a package."""
    module = import_module(place, package)
    if module.__name__ != package:
        with suppress(AttributeError):
            return getattr(module, name)
    return import_module(f"{module.__name__}.{name}")
