"""Which options of a config.json the classes of mindone (and transformers' configurations) take.

Read from their sources: to import them means to import MindSpore, which takes seconds, and this side of the process
border has none. diffusers' rule is that of mindone's `ConfigMixin.extract_init_dict`: a model or scheduler takes what
its `__init__` names (or adds to its configuration itself), and drops the rest. A configuration of transformers keeps
whatever it is given; what it or one of its bases names (as an argument, an attribute, or a keyword that is looked up),
or the model's module reads of it, is what has an effect.

Imports `contract` of this package and the standard library.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from attnfuse.tracing.contract import Library

#: Not those that derive from one of their own name: they stand where the class was before, for old imports, and take
#: what it took then.
_CLASS = re.compile(r"^class (\w+)\b(?!\(\1\))", re.MULTILINE)
_VERSION = re.compile(r"^__version__ = \"([^\"]+)\"", re.MULTILINE)
_READ = re.compile(r"\bconfig\.(\w+)|\bconfig, \"(\w+)\"")
_MODEL_TYPE = re.compile(r"\(\"([\w.-]+)\", \"(\w+Config)\"\)")

#: Of which files the classes of a library are read, the first that has a class being the one.
_DIFFUSERS = ("diffusers/models/**/*.py", "diffusers/schedulers/*.py", "diffusers/pipelines/**/*.py")
_MODELS = (
    "transformers/models/*/modeling_*.py",
    "diffusers/pipelines/**/text_encoder.py",
    "diffusers/pipelines/**/image_encoder.py",
)
_CONFIGURATIONS = ("configuration_utils.py", "models/*/configuration_*.py")


@dataclass(frozen=True, slots=True)
class Options:
    """What a class takes: names, and of an option that is a configuration itself, what that takes.

    `base` names the option in which a larger configuration holds this one, which is then read instead of the whole.
    """

    names: frozenset[str]
    parts: Mapping[str, Options] = field(default_factory=dict)
    base: str = ""


@functools.cache
def options_of(class_name: str, library: Library) -> Options | None:
    """What a class of mindone takes; None where its source, or what it derives from, is not found."""
    root = _package("mindone")
    if root is None:
        return None
    if library == "diffusers":
        names = _of_diffusers(class_name, _index(root, _DIFFUSERS))
        return None if names is None else Options(frozenset(names))
    index = _index(root, _MODELS)
    found = _configuration_name(class_name, index)
    options = None if found is None else _of_configuration(found, _configurations(index))
    if options is None:
        return None
    read = _READ.findall(index[class_name].read_text(encoding="utf-8"))
    return replace(options, names=options.names.union(*read))


@functools.cache
def counterpart(library: Library) -> str | None:
    """The version of diffusers (transformers) that mindone's stands for; None where it is not found."""
    root = _package("mindone")
    path = None if root is None else root / library / "__init__.py"
    found = _VERSION.search(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else None
    return None if found is None else found[1]


@functools.cache
def _package(name: str) -> Path | None:
    """The folder of a package, which is not imported."""
    spec = importlib.util.find_spec(name)
    places = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(places))) if places else None


@functools.cache
def _index(root: Path, patterns: tuple[str, ...]) -> Mapping[str, Path]:
    """Where each class is defined, by name."""
    found: dict[str, Path] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            for name in _CLASS.findall(path.read_text(encoding="utf-8")):
                found.setdefault(name, path)
    return found


@functools.cache
def _classes(path: Path) -> Mapping[str, ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _lineage(name: str, index: Mapping[str, Path], seen: frozenset[str] = frozenset()) -> Iterator[ast.ClassDef]:
    """The class and those it derives from, nearest first, as far as they are found."""
    if name in seen or name not in index:
        return
    node = _classes(index[name]).get(name)
    if node is None:
        return
    yield node
    for base in node.bases:
        yield from _lineage(_last_name(base), index, seen | {name})


def _last_name(node: ast.expr) -> str:
    """`X` of `X`, `a.X` and `"X"`; nothing for another expression."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _own(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    """The attributes that a class's body assigns or annotates: name, and value or annotation."""
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            yield from ((_last_name(target), statement.value) for target in statement.targets)
        elif isinstance(statement, ast.AnnAssign):
            yield _last_name(statement.target), statement.value or statement.annotation


def _arguments(node: ast.ClassDef) -> set[str] | None:
    """The arguments of a class's own `__init__`; None where it has none."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            given = statement.args
            named = {argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self"}
            return named | set(_registered(statement))
    return None


def _registered(node: ast.AST) -> Iterator[str]:
    """What a class adds to its configuration while it is made: a configuration that was saved has it."""
    for found in ast.walk(node):
        if isinstance(found, ast.Call) and _last_name(found.func) == "register_to_config":
            yield from (keyword.arg for keyword in found.keywords if keyword.arg is not None)


def _of_diffusers(name: str, index: Mapping[str, Path]) -> set[str] | None:
    lineage = list(_lineage(name, index))
    names = next((found for found in map(_arguments, lineage) if found is not None), None)
    if names is None:
        return None
    attributes = {key: value for node in reversed(lineage) for key, value in _own(node)}
    names |= _texts(attributes.get("_deprecated_kwargs"))
    compatibles = attributes.get("_compatibles")
    if isinstance(compatibles, ast.ListComp):  # the schedulers that may be put in its place, whose options it keeps
        for other in [name for name in index if name.endswith("Scheduler")]:
            names |= next((found for found in map(_arguments, _lineage(other, index)) if found is not None), set())
    return names


def _texts(node: ast.AST | None) -> set[str]:
    """Every text in an expression."""
    if node is None:
        return set()
    return {found.value for found in ast.walk(node) if isinstance(found, ast.Constant) and isinstance(found.value, str)}


def _configuration_name(model: str, index: Mapping[str, Path]) -> str | None:
    """The class of a model's configuration: `config_class`, or how `config` is annotated."""
    for node in _lineage(model, index):
        attributes = dict(_own(node))
        for name in ("config_class", "config"):
            value = attributes.get(name)
            if value is not None and _last_name(value):
                return _last_name(value)
    return None


@functools.cache
def _transformers_index() -> Mapping[str, Path]:
    root = _package("transformers")
    return {} if root is None else _index(root, _CONFIGURATIONS)


def _configurations(models: Mapping[str, Path]) -> Mapping[str, Path]:
    """Where configurations are defined: in transformers, or beside a model of mindone's own."""
    return {**{name: path for name, path in models.items() if name.endswith("Config")}, **_transformers_index()}


def _of_configuration(name: str, index: Mapping[str, Path]) -> Options | None:
    lineage = list(_lineage(name, index))
    if not lineage or lineage[-1].name not in ("PretrainedConfig", "PreTrainedConfig", "PushToHubMixin"):
        return None
    names: set[str] = set()
    attributes: dict[str, ast.expr | None] = {}
    for node in reversed(lineage):
        attributes |= dict(_own(node))
        names |= set(attributes) | (_arguments(node) or set()) | set(_looked_up(node))
    names |= _texts(attributes.get("attribute_map"))
    parts = {}
    entries = attributes.get("sub_configs")
    if isinstance(entries, ast.Dict):
        for key, value in zip(entries.keys, entries.values, strict=True):
            part = _of_configuration(_last_name(value), index)
            if isinstance(key, ast.Constant) and part is not None:
                parts[str(key.value)] = part
    base = attributes.get("base_config_key")
    return Options(frozenset(names), parts, str(base.value) if isinstance(base, ast.Constant) else "")


def _looked_up(node: ast.ClassDef) -> Iterator[str]:
    """The attributes that a class sets on itself, and the keywords it looks up or has defaults for."""
    for found in ast.walk(node):
        if isinstance(found, ast.Attribute) and isinstance(found.value, ast.Name) and found.value.id == "self":
            yield found.attr
        elif isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute) and found.args:
            if found.func.attr in ("pop", "get"):
                yield from _texts(found.args[0])
        elif isinstance(found, ast.FunctionDef) and found.name == "_get_global_generation_defaults":
            yield from _texts(found)


@functools.cache
def options_of_type(model_type: str) -> Options | None:
    """What the configuration of a kind of model takes, by the `model_type` that it says it is."""
    root = _package("transformers")
    path = None if root is None else root / "models" / "auto" / "configuration_auto.py"
    if path is None or not path.is_file():
        return None
    names = dict(reversed(_MODEL_TYPE.findall(path.read_text(encoding="utf-8"))))
    return _of_configuration(names[model_type], _transformers_index()) if model_type in names else None
