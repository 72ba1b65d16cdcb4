"""A package that gathers names imports a module when a name of it is asked for, and has the names it always had."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from attnfuse.tracing import imports
from tests.support.console import environment

PACKAGE = "gathering_for_test"

FILES = {
    "__init__.py": """
        import sys as system
        from .early import used
        from .models import CLASS, other as renamed
        from . import models, odd
        from .stars import *
        from .unknown import *
        from .named import named
        if used == 1:
            from .branch import chosen
        else:
            from .branch import unheard_of
        from .second import CLASS
        made = used + 1
        """,
    "early.py": "used = 1",
    "models/__init__.py": "from .one import CLASS, other, _hidden\n",
    "models/one.py": "CLASS, other, _hidden = 'class', 'other', 'hidden'",
    "odd.py": "",
    "stars/__init__.py": "from .star import *",
    "stars/star.py": "__all__ = ['twinkle']\ntwinkle, little = 1, 2",
    "unknown.py": "found = 3",
    "named.py": "named = 'a value, and a module is called like it'",
    "branch.py": "chosen = 4",
    "second.py": "CLASS = 'the later one'",
    "counting/__init__.py": "from .first import a\nfrom .last import b\n",
    "counting/first.py": "import sys; sys.counted = True; a = 1",
    "counting/last.py": "import sys\nif not hasattr(sys, 'counted'): raise ImportError('it counts on it')\nb = 2",
    "lazy/__init__.py": "import sys\nfrom .inner import name\nsys.modules[__name__].own = True\n",
    "lazy/inner.py": "name = 5",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name, text in FILES.items():
        (tmp_path / PACKAGE / name).parent.mkdir(parents=True, exist_ok=True)
        lines = [line.removeprefix("        ") for line in text.splitlines()]
        (tmp_path / PACKAGE / name).write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_GATHERING", PACKAGE)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    imports.by_name()
    yield importlib.import_module(PACKAGE)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    vars(sys).pop("counted", None)


def loaded() -> set[str]:
    return {name.removeprefix(f"{PACKAGE}.") for name in sys.modules if name.startswith(f"{PACKAGE}.")}


def names(package: ModuleType) -> Mapping[str, object]:
    """What `from package import *` brings."""
    found: dict[str, object] = {}
    exec(f"from {package.__name__} import *", found)
    return {name: value for name, value in found.items() if not name.startswith("__")}


def test_only_what_is_asked_for_is_imported(package: ModuleType) -> None:
    assert loaded() == {"early", "unknown", "named"}
    assert package.renamed == "other"
    assert loaded() == {"early", "unknown", "named", "models", "models.one"}
    assert package.twinkle == 1
    assert "stars.star" in loaded()
    assert "branch" not in loaded()


def test_it_has_the_names_that_python_would_give_it(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: value if type(value) in (int, str) else type(value) for name, value in names(package).items()}
    assert {"CLASS", "odd", "named"} <= set(dir(package))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, imports._Finder)])
    plain = importlib.import_module(PACKAGE)
    assert not hasattr(plain, "__getattr__")
    assert found == {name: value if type(value) in (int, str) else type(value) for name, value in names(plain).items()}
    assert found["CLASS"] == "the later one"


def test_what_is_not_there(package: ModuleType) -> None:
    assert not hasattr(package, "unheard_of")
    with pytest.raises(ImportError, match="cannot import name 'little'"):
        exec(f"from {PACKAGE} import little")


@pytest.mark.usefixtures("package")
def test_a_module_that_counts_on_those_before_it() -> None:
    counting = importlib.import_module(f"{PACKAGE}.counting")
    assert "counting.first" not in loaded()
    assert counting.b == 2


@pytest.mark.usefixtures("package")
def test_a_package_that_looks_names_up_itself_is_left_alone() -> None:
    lazy = importlib.import_module(f"{PACKAGE}.lazy")
    assert lazy.own
    assert "lazy.inner" in loaded()


def test_a_module_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waits_for_test").mkdir()
    (tmp_path / "waits_for_test" / "__init__.py").write_text("import sys; sys.counted = True; value = 7")
    (tmp_path / "waits_for_test" / "inner.py").write_text("import sys; assert sys.counted")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_WAITING", "waits_for_test")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    imports.by_name()
    try:
        for _ in range(2):
            module = importlib.import_module("waits_for_test")
            assert not hasattr(sys, "counted")
        importlib.import_module("waits_for_test.inner")
        assert module.value == 7
    finally:
        vars(sys).pop("counted", None)
        for name in ("waits_for_test", "waits_for_test.inner"):
            sys.modules.pop(name, None)


READING = """
asked = []

def fetch__all__(text):
    asked.append(text)
    lines = [line for line in text.splitlines() if line.startswith("__all__")]
    return lines[-1].split()[-1] if lines else []

def create_import_structure_from_path(place):
    import pathlib
    place = pathlib.Path(place).parent if pathlib.Path(place).is_file() else pathlib.Path(place)
    return {file.stem: fetch__all__(file.read_text()) for file in sorted(place.glob("*.txt"))}
"""


def test_names_of_files_are_read_once_and_from_their_line_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reads_for_test.py").write_text(READING)
    texts = {
        "none": "a = 1\n",
        "first": "__all__ = one",
        "last": "__all__ = one\nb\n__all__ = two\nc __all__",
        "nearly": " __all__ = x",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    plain = importlib.import_module("reads_for_test")
    expected = plain.create_import_structure_from_path(tmp_path)
    del sys.modules["reads_for_test"]
    monkeypatch.setattr(imports, "_READING", "reads_for_test")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    imports.by_name()
    module = importlib.import_module("reads_for_test")
    del sys.modules["reads_for_test"]
    assert module.create_import_structure_from_path(tmp_path) == expected
    assert expected["last"] == "two"
    assert module.create_import_structure_from_path(str(tmp_path / "none.txt")) == expected
    assert len(module.asked) == len(texts)
    assert max(map(len, module.asked)) < len(texts["last"])


@pytest.mark.mindspore
def test_no_model_of_mindone_is_imported_unasked() -> None:
    """Of the two packages that import all their models, every import waits."""
    spec = importlib.util.find_spec("mindone")
    assert spec is not None
    for place in spec.submodule_search_locations or ():
        for name in ("transformers", "transformers/models", "diffusers/models/transformers"):
            folder = Path(place) / name
            tree = ast.parse((folder / "__init__.py").read_bytes())
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            made = imports._with_waits(tree.body, folder, used, {path.stem for path in folder.iterdir()})
            left = [node for one in made for node in ast.walk(one) if isinstance(node, ast.ImportFrom) and node.level]
            assert [ast.unparse(node) for node in left] == []


@pytest.mark.mindspore
def test_models_whose_docstrings_are_made_can_be_imported() -> None:
    """In a process of its own, as nothing else may have imported what their decorators look into."""
    code = (
        "from attnfuse.tracing.imports import by_name; by_name();"
        "from mindone.transformers.models.vit.modeling_vit import ViTModel;"
        "from mindone.transformers.models.bert.modeling_bert import BertModel"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
