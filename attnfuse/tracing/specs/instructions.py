"""How many tokens a pipeline puts in front of a prompt: words of its own, counted by its tokenizer.

Imports `context` of this package, and tokenizers where there is something to count.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from attnfuse.tracing.specs.context import SpecContext


def instruction_tokens(context: SpecContext, source: str, argument: str) -> int | None:
    """The tokens of the lines that `argument` of a pipeline's `__call__` is by default, with a beginning and no end.

    `source` is its file below mindone/diffusers/pipelines/. None where the folder has no tokenizer/tokenizer.json, or
    mindone's source is not found: then they cannot be counted.
    """
    if "tokenizer" not in context.pipeline.classes:
        return None
    file = context.pipeline.folders["tokenizer"] / "tokenizer.json"
    text = _default(source, argument)
    return _counted(file, text) if text is not None and file.is_file() else None


@functools.cache
def _counted(file: Path, text: str) -> int | None:
    """The tokens of a text, or None where the file cannot be read: who loads the tokenizer tells that."""
    from tokenizers import Tokenizer  # transformers' own; seconds for a large vocabulary

    try:
        return len(Tokenizer.from_file(str(file)).encode(text).ids)
    except Exception:  # it raises nothing more specific
        return None


@functools.cache
def _default(source: str, argument: str) -> str | None:
    """The lines of the argument's default, joined."""
    spec = importlib.util.find_spec("mindone")
    places = None if spec is None else spec.submodule_search_locations
    for place in places or ():
        file = Path(place) / "diffusers" / "pipelines" / source
        if file.is_file():
            found = next(_defaults(ast.parse(file.read_text(encoding="utf-8")), argument), None)
            return None if found is None else "\n".join(found)
    return None


def _defaults(tree: ast.Module, argument: str) -> Iterator[list[str]]:
    """The defaults of that argument, of every `__call__`, that are lists of strings."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == "__call__":
            arguments = function.args.args
            given = zip(arguments[len(arguments) - len(function.args.defaults) :], function.args.defaults, strict=True)
            for name, value in given:
                if name.arg == argument and isinstance(value, ast.List):
                    yield [str(element.value) for element in value.elts if isinstance(element, ast.Constant)]
