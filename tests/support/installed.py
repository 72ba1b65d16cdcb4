"""Distributions that are installed as pip leaves them: a module and its `.dist-info`, in a folder on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from attnfuse import pass_manager, plugins
from attnfuse.ir.operators import table


def install(folder: Path, name: str, module: str, entries: Mapping[str, str], version: str = "1.0") -> None:
    """Write the distribution `name` into the folder, its one module of that text.

    `entries` are its entry points, `group:name` → attribute of the module.
    """
    importable = f"the_module_of_{name.replace('-', '_')}"
    file = folder / f"{importable}.py"
    file.write_text(module, encoding="utf-8")
    os.utime(file, (0, 0))  # older than this process, which may have imported it then
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = []
    for key, attribute in entries.items():
        group, _, entry = key.partition(":")
        lines.append(f"[{group}]\n{entry} = {importable}:{attribute}\n")
    (info / "entry_points.txt").write_text("".join(lines), encoding="utf-8")


class Install(Protocol):
    """Installs a distribution into the running process, for one test: see `install`."""

    def __call__(self, name: str, module: str, entries: Mapping[str, str], version: str = "1.0") -> None: ...


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Install]:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    with on_the_path(folder):
        yield partial(install, folder)


@contextmanager
def on_the_path(folder: Path) -> Iterator[None]:
    """In this process, as if attnfuse had been started with the folder on its path; all is forgotten behind it."""
    sys.path.insert(0, str(folder))
    plugins.load.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name, module in sys.modules.items() if _lies_in(folder, module)]:
            del sys.modules[name]
        plugins.load.cache_clear()
        table.extend(())
        pass_manager.discover()  # which takes from the passes what they were extended by


def _lies_in(folder: Path, module: object) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and folder in Path(file).parents
