"""Folders that attnfuse wrote are read, and others refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnfuse.output import MANIFEST_SCHEMA
from attnfuse_runtime.errors import FolderError
from attnfuse_runtime.manifest import SCHEMA, Tensor, read_manifest
from tests.support.compiled import toy


def test_what_a_compile_wrote(tmp_path: Path) -> None:
    out = toy(tmp_path)
    found = read_manifest(out)
    assert (found.runtime, found.soc, SCHEMA) == ("lite", "ascend910b", MANIFEST_SCHEMA)
    (component,) = found.components.values()
    assert component.inputs == (Tensor("sample", (2, 4), "float16"), Tensor("timestep", (1,), "int64"))
    assert [one.dtype for one in component.outputs] == ["float16", "int64"]
    assert component.graph.is_file()
    assert component.config == out / "configs/toy.cfg"
    assert found.pipeline == {}


def test_what_is_for_people_may_be_edited(tmp_path: Path) -> None:
    out = toy(tmp_path)
    for name in ("README.md", "configs/toy.cfg"):
        (out / name).write_text("for two images more")
    assert read_manifest(out).components.keys() == {"toy"}


def test_what_a_loop_needs_to_know(tmp_path: Path) -> None:
    out = toy(tmp_path)
    (out / "model_index.json").write_text("{}")
    outputs = json.loads((out / "manifest.json").read_text())["outputs"]
    known = {"height": 64, "files": ["model_index.json"]}
    changed(out, pipeline=known, outputs={**outputs, "model_index.json": {"sha256": "", "bytes": 2}})
    assert read_manifest(out).pipeline == known
    (out / "model_index.json").write_text("{ }")
    with pytest.raises(FolderError, match=r"model_index\.json has 3 bytes where"):
        read_manifest(out)


def test_another_runtime_has_no_configuration_of_lite(tmp_path: Path) -> None:
    found = read_manifest(toy(tmp_path, runtime="mindspore"))
    assert found.runtime == "mindspore"
    assert [one.config for one in found.components.values()] == [None]


def changed(out: Path, **values: Any) -> None:
    document = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**document, **values}))


def given(out: Path, **values: Any) -> None:
    """Say something else of the first input."""
    (component,) = json.loads((out / "manifest.json").read_text())["components"]
    component["inputs"][0] |= values
    changed(out, components=[component])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda out: (out / "manifest.json").unlink(), "it has no manifest.json"),
        (lambda out: (out / "manifest.json").write_text("{"), "is of the schema None"),
        (lambda out: (out / "manifest.json").write_text("[" * 100_000), "is of the schema None"),
        (lambda out: changed(out, schema="attnfuse.manifest/1"), "is of the schema 'attnfuse.manifest/1'"),
        (lambda out: changed(out, components=[{}]), "was changed by somebody"),
        (lambda out: changed(out, outputs=None), "was changed by somebody"),
        (lambda out: given(out, name=1.5), "was changed by somebody"),
        (lambda out: given(out, dtype=""), "was changed by somebody"),
        (lambda out: given(out, dtype="--help"), "was changed by somebody"),
        (lambda out: given(out, dtype=["float16"]), "was changed by somebody"),
        (lambda out: given(out, dtype="unknown"), "takes sample of a type that numpy has no arrays of"),
        (lambda out: (out / "configs/toy.cfg").unlink(), "lacks configs/toy.cfg"),
        (lambda out: next(out.glob("*.mindir")).write_bytes(b"cut"), "has 3 bytes where manifest.json says"),
    ],
)
def test_what_is_no_whole_folder(tmp_path: Path, harm: Any, said: str) -> None:
    out = toy(tmp_path)
    harm(out)
    with pytest.raises(FolderError, match=r"^[^\n]*\.$") as raised:
        read_manifest(out)
    assert said in str(raised.value)
