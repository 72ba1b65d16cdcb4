"""The short part of fuzzing what is no graph: the first mutants of each kind, the entries that are kept, and what must
not be."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from attnfuse.errors import SourceError
from attnfuse.store.entries import FORMAT
from tools.fuzz import byte_edits, cases, corpus, documents, outcomes, tensor_files
from tools.fuzz.byte_edits import Thing
from tools.fuzz.cases import Bench, Case, Kind, Seed
from tools.fuzz.kills import damaged, kills
from tools.fuzz.kinds import KINDS

COUNT = 60


@pytest.mark.parametrize("name", KINDS)
def test_mutants_end_as_they_must(name: str, tmp_path: Path) -> None:
    """A seed is taken by all that reads it; of the mutants some are taken, some refused, and none ends otherwise."""
    kind, bench = KINDS[name], Bench(tmp_path)
    made = [cases.make(kind, number) for number in range(COUNT)]
    found = [bench.run(case) for case in made]
    assert [outcome for outcome in found if outcome.failed] == []
    assert {outcome.kind for outcome in found} >= {"taken"}
    assert [cases.make(kind, case.number) for case in made[:3]] == made[:3]
    assert all(case.edits for case in made)


def test_entries_that_are_kept(tmp_path: Path) -> None:
    """Those that following coverage found, which reach what mutants by number do not; they are small."""
    found = []
    for path in sorted(corpus.FOLDER.glob("*.xz")):
        kind, bench = KINDS[path.stem], Bench(tmp_path / path.stem)
        bench.folder.mkdir()
        found += [bench.run(corpus.of_entry(kind, at, entry)) for at, entry in enumerate(corpus.kept(path.stem))]
    assert [outcome for outcome in found if outcome.failed] == []
    assert sum(path.stat().st_size for path in corpus.FOLDER.glob("*")) < 200_000


def test_an_entry_stands_for_a_file_and_what_reads_it(tmp_path: Path) -> None:
    kind = KINDS["policy"]
    for entry in corpus.sound(kind):
        assert Bench(tmp_path).run(corpus.of_entry(kind, 0, entry)).kind in ("taken", "refused")
    assert corpus.of_entry(kind, 0, b"").files["policy.toml"] == b""


def _kind(read: Callable[[Path], object], **files: bytes) -> Kind:
    return Kind("a kind", lambda: (Seed("a seed", files or {"a.json": b"{}"}),), {}, {"it": read}, ())


def _writes(name: str) -> Callable[[Path], object]:
    return lambda folder: str((folder / name).write_text("more"))


def _is_sound(folder: Path) -> None:
    assert (folder / "a.json").read_bytes() == b"{}"


def _refuses(text: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        raise SourceError(text)

    return read


def _raises(folder: Path) -> None:
    raise RecursionError("a bug")


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda folder: None, "taken"),
        (lambda folder: 5, "taken"),
        (lambda folder: 7, "half a sentence"),
        (_refuses("it is damaged."), "refused"),
        (_refuses("it is damaged"), "half a sentence"),
        (_raises, "defect"),
        (_writes("a.json"), "changed an input"),
        (_writes("more"), "left behind"),
        (_writes("../tmp/more"), "left behind"),
        (lambda folder: (folder / "../outside/secret").read_bytes(), "led out"),
        (lambda folder: (folder / "pipe").read_bytes(), "hang"),
    ],
)
def test_what_must_not_be_is_seen(
    read: Callable[[Path], object], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "WAITING", 0.2)
    case = Case(0, _kind(read), "a seed", {"a.json": b"{}", "pipe": Thing.PIPE}, (), "it")
    bench = Bench(tmp_path)
    assert bench.run(case).kind == kind
    sound = Case(1, _kind(_is_sound), "", case.files, (), "it")
    assert bench.run(sound).kind == "taken"  # the folder is as it was


def test_what_lies_in_place_of_a_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for thing in Thing:
        assert bench.run(Case(0, _kind(lambda folder: None), "", {"sub/a": thing}, (), "it")).kind == "taken"
    assert (
        bench.run(Case(0, _kind(lambda folder: 0 if not (folder / "sub/a").exists() else 7), "", {}, (), "it")).kind
        == "taken"
    )


DOCUMENT: dict[str, Any] = {"name": "x", "rules": [{"match": "*", "on": True}, {"n": 1.5}], "table": {"size": 3}}


def test_edits_of_documents() -> None:
    """Each changes something, and what comes of it is a document again, but for what no document can say."""
    content = json.dumps(DOCUMENT).encode()
    made = [documents.edited_json(Random(number), content) for number in range(300)]
    assert all(told for _, told in made)
    assert len({text for text, _ in made}) > 200
    for text, _ in made:
        json.loads(text)
    toml = documents.to_toml(DOCUMENT)
    assert tomllib.loads(toml.decode()) == DOCUMENT
    made = [documents.edited_toml(Random(number), toml) for number in range(300)]
    read = 0
    for text, _ in made:
        try:
            tomllib.loads(text.decode())
        except (ValueError, RecursionError):
            continue
        read += 1
    assert read > 200


def test_edits_of_files() -> None:
    files: byte_edits.Files = {
        "a.json": b'{"a": 12}',
        "b.safetensors": tensor_files.tensor_file({"x": ("F16", (2, 3))}),
    }
    kinds = set()
    for number in range(400):
        copy = dict(files)
        assert byte_edits.edit_bytes(Random(number), copy)
        assert byte_edits.edit_things(Random(number), copy)
        kinds |= {content for content in copy.values() if isinstance(content, Thing)}
    assert kinds == set(Thing)
    told = {tensor_files.edit_tensors(Random(number), dict(files)).split(" of ")[0] for number in range(300)}
    assert len(told) > 20


@pytest.mark.slow
@pytest.mark.mindspore
def test_kills_leave_what_stood(capsys: pytest.CaptureFixture[str]) -> None:
    """Verified in numbers, with MindSpore's answers of the first run, and no MindSpore but for that."""
    assert kills(4, 1) == 0
    assert "0 partial outputs, damaged caches or processes left" in capsys.readouterr().out


def test_damaged_entries_of_a_cache_are_seen(tmp_path: Path) -> None:
    entry = tmp_path / FORMAT / "kind" / "key"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(b"0\nx")
    assert len(list(damaged(tmp_path))) == 1
