"""Takes note of the settings made on whole mindone pipelines and models, from the moment attnfuse is imported.

mindone's `set_flash_attention_force_cast_dtype` and `enable_flash_sdp` walk the cells below what they are called on,
and leave a trace on cells of its class `Attention` only (models/attention_processor.py). Text encoders have none,
nor have some transformers: what was said of the pipeline that holds them is lost. So both methods are wrapped, on
mindone's pipelines and models, as soon as mindone is imported: they do what they did, and the parts they were called on
are noted.
Nothing of the pipeline is changed, and what is forgotten elsewhere is forgotten here: a note lives as long as its part.

Imports nothing but the standard library: mindone is not imported here, but waited for.
"""

from __future__ import annotations

import functools
import importlib.abc
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from weakref import ref

METHODS = ("set_flash_attention_force_cast_dtype", "enable_flash_sdp")
_CLASSES = {
    "mindone.diffusers.pipelines.pipeline_utils": "DiffusionPipeline",
    "mindone.diffusers.models.modeling_utils": "ModelMixin",
}
_WRAPPED = "_attnfuse_noted"

#: By identity, for models need not be hashable: the part, as long as it lives, and the last value by method.
_noted: dict[int, tuple[ref[Any], dict[str, Any]]] = {}
_depth = 0


def noted(part: object, method: str) -> tuple[Any, ...]:
    """What a part of a pipeline was last told by that method, called on the part or the pipeline; () where nothing."""
    alive, known = _noted.get(id(part), (None, {}))
    return (known[method],) if alive is not None and alive() is part and method in known else ()


def note(part: object, method: str, value: object) -> None:
    """Take note that the method was called on the part, or on a pipeline that holds it, with that value."""
    at = id(part)
    if at not in _noted:
        _noted[at] = (ref(part, lambda _: _noted.pop(at, None)), {})
    _noted[at][1][method] = value


def watch() -> None:
    """Have calls noted from now on, or from when mindone is imported; more than once is once."""
    for name in _CLASSES:
        if name in sys.modules:
            _wrap(sys.modules[name])
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself; what others find of mindone's two modules is wrapped when it has been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if fullname not in _CLASSES:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    _wrap_after(spec.loader)
                return spec
        return None


def _wrap_after(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _wrap(module)

    loader.exec_module = exec_module


def _wrap(module: ModuleType) -> None:
    """Wrap both methods of the module's class, if it has them; it may be half imported, or of another version."""
    kind = getattr(module, _CLASSES[module.__name__], None)
    for name in METHODS:
        method = vars(kind).get(name) if kind is not None else None
        if callable(method) and not hasattr(method, _WRAPPED):
            setattr(kind, name, _noting(name, method))


def _noting(name: str, method: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *given: Any, **named: Any) -> Any:
        global _depth
        values = (*given, *named.values())
        _depth += 1
        try:
            result = method(self, *given, **named)
        finally:
            _depth -= 1
        if _depth == 0 and len(values) == 1:  # not of the calls that a pipeline makes on its models
            for part in _covered(self):
                note(part, name, values[0])
        return result

    setattr(call, _WRAPPED, True)
    return call


def _covered(target: Any) -> Iterator[Any]:
    """The models of a pipeline, text encoders among them, or the one model."""
    if hasattr(target, "cells_and_names"):
        yield target
        return
    for part in vars(target).values():
        if hasattr(part, "cells_and_names"):
            yield part
