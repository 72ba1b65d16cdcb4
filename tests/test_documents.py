"""Documents that a user names, damaged or hostile: one sentence each, whoever reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from attnfuse import documents
from attnfuse.cli.batch_file import read_batch
from attnfuse.errors import AttnfuseError, PolicyError, SourceError, UsageError
from attnfuse.mindir import codec
from attnfuse.policy import read_policy
from attnfuse.tracing.checkpoint import find_files
from attnfuse.tracing.folder import read_json
from attnfuse.tracing.inputs import read_inputs
from attnfuse.verify.certificate import check_certificate

NAME = "diffusion_pytorch_model.safetensors.index.json"
DEEP = "[" * 100_000
LONG = "9" * 5_000

READERS: list[tuple[Callable[[Path], object], type[AttnfuseError], str]] = [
    (read_json, SourceError, '{{"a": {}}}'),
    (lambda path: find_files(path.parent, "diffusers"), SourceError, '{{"weight_map": {}}}'),
    (lambda path: check_certificate(path, None, None), SourceError, '{{"a": {}}}'),
    (read_policy, PolicyError, "a = {}"),
    (read_inputs, UsageError, "a = {}"),
    (read_batch, UsageError, "a = {}"),
]


@pytest.mark.parametrize(("read", "error", "form"), READERS)
@pytest.mark.parametrize("content", [DEEP, LONG])
def test_what_pythons_readers_give_up_over(
    tmp_path: Path, read: Callable[[Path], object], error: type[AttnfuseError], form: str, content: str
) -> None:
    path = tmp_path / NAME
    path.write_text(form.format(content), encoding="utf-8")
    with pytest.raises(error) as refused:
        read(path)
    assert NAME in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("read", "error"), [*((read, error) for read, error, _ in READERS), (codec.read_bytes, SourceError)]
)
def test_a_pipe_is_not_waited_for(tmp_path: Path, read: Callable[[Path], object], error: type[AttnfuseError]) -> None:
    path = tmp_path / NAME
    os.mkfifo(path)
    with pytest.raises(error):
        read(path)


def test_reasons(tmp_path: Path) -> None:
    for kind, content, message in [
        ("JSON", DEEP, "nested too deeply"),
        ("TOML", f"a = {DEEP}", "nested too deeply"),
        ("JSON", LONG, "too many digits"),
        ("TOML", f"a = {LONG}", "too many digits"),
        ("TOML", f"a = 0x{LONG}", "too many digits"),
        ("JSON", "{", "line 1 column 2"),
        ("TOML", "[", "end of document"),
    ]:
        with pytest.raises(ValueError, match=message):
            documents.parse(content, "JSON" if kind == "JSON" else "TOML")
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError) as undecoded:
        documents.read_text(tmp_path / "latin")
    assert documents.reason(undecoded.value) == "it is not UTF-8 text"
    with pytest.raises(OSError, match="directory") as folder:
        documents.read_text(tmp_path)
    assert documents.reason(folder.value) == "Is a directory"
