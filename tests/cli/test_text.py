"""Graphs as text from the command line: a file there and back, and what each pass left."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.ir.text import parse_model
from attnfuse.mindir import codec
from tests.cli.conftest import Command, tree
from tests.support.graphs import transformer
from tests.support.toy_pass import MARK


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return transformer(weights=False).write(folder / "unet.mindir")


def test_a_file_is_printed_and_made_again(command: Command, model: Path, tmp_path: Path) -> None:
    printed = command("text", model)
    assert printed.code == 0
    assert printed.err == ""
    assert printed.out.startswith("mindir with {")
    (tmp_path / "unet.txt").write_text(printed.out)
    answer = command("text", "--parse", tmp_path / "unet.txt", "-o", tmp_path / "again.mindir")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert (tmp_path / "again.mindir").read_bytes() == model.read_bytes()
    assert command("text", model, "-o", tmp_path / "other.txt").code == 0
    assert (tmp_path / "other.txt").read_text() == printed.out


def test_short_text_is_the_main_graph(command: Command, model: Path) -> None:
    answer = command("text", "--short", model)
    assert answer.out.splitlines()[0] == "v1 = Dense(sample, %blocks.0.attn1.to_q.weight, None)"
    assert "Softmax(" in answer.out


def test_text_that_is_no_graph_is_told_with_its_place(command: Command, model: Path, tmp_path: Path) -> None:
    text = command("text", model).out
    (tmp_path / "unet.txt").write_text(text.replace("Softmax(", "Softmx(", 1))
    answer = command("text", "--parse", tmp_path / "unet.txt", "-o", tmp_path / "again.mindir")
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "Softmax(" in line)
    assert answer.code == 3
    assert f"unet.txt: line {line}, column " in answer.error
    assert answer.error.endswith("the table has no primitive of operator Softmx.")
    assert not (tmp_path / "again.mindir").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["text", "{model}", "--parse"], 2, "an output is needed: give -o OUTPUT.mindir."),
        (["text", "{model}", "--parse", "--short"], 2, "--short is for reading"),
        (["text", "{model}", "-o", "{model}"], 2, "is the file that is read; name another."),
        (["text", "{model}", "-o", "{tmp}"], 2, "is a folder; name a file."),
        (["text", "{model}", "-o", "{tmp}/none/x.txt"], 2, "cannot be written: No such file or directory."),
        (["text", "{tmp}/none.mindir"], 3, "does not exist; check the path."),
        (["text", "{model}", "--parse", "-o", "{tmp}/x.mindir"], 3, "cannot be read: it is not UTF-8 text."),
        (["text", "{tmp}/none.txt", "--parse", "-o", "{tmp}/x"], 3, "cannot be read: No such file or directory."),
        (
            ["inspect", "{model}", "--print-graph-after", "toi"],
            2,
            "there is no pass 'toi'; did you mean 'toy'? Known: toy, all.",
        ),
        (
            ["inspect", "{model}", "--print-graph-after", "fuse-all"],
            2,
            "there is no pass 'fuse-all'; did you mean 'all'? Known: toy, all.",
        ),
        (["inspect", "{model}", "--print-graph-to", "{tmp}/x"], 2, "say after which pass with --print-graph-after"),
        (
            ["inspect", "{model}", "--print-graph-after", "toy", "--print-graph-to", "{model}/x"],
            2,
            "would lie in or over",
        ),
        (
            ["compile", "{model}", "-o", "{tmp}/o", "--print-graph-after", "toy", "--print-graph-to", "{tmp}/o/x"],
            2,
            "the folder of printed graphs",
        ),
        (
            ["inspect", "{model}", "--print-graph-after", "toy", "--print-graph-to", "{file}"],
            2,
            "cannot be made: File exists.",
        ),
    ],
)
def test_bad_arguments(
    command: Command, model: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "a-file").write_text("")
    before = tree(tmp_path)
    answer = command(*(a.format(model=model, tmp=tmp_path, file=tmp_path / "a-file") for a in arguments))
    assert answer.code == code
    assert sentence in answer.error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["toy", "all", "*"])
def test_the_graph_after_a_pass_on_stderr(command: Command, model: Path, name: str) -> None:
    answer = command("inspect", model, "--print-graph-after", name, "--json", "--progress", "never")
    assert answer.code == 0
    assert answer.document["components"]
    header, _, text = answer.err.partition("\n")
    assert header == "# unet after toy"
    marked = parse_model(text[: text.rindex("output ")] + text[text.rindex("output ") :].splitlines()[0])
    assert sum(node.doc_string == MARK for node in marked.graph.node) == 2


def test_the_graph_after_a_pass_in_a_folder(command: Command, tmp_path: Path) -> None:
    model = transformer().write(tmp_path / "unet.mindir")
    answer = command(
        "compile",
        model,
        "-o",
        tmp_path / "out.mindir",
        "--print-graph-after",
        "all",
        "--print-graph-to",
        tmp_path / "p",
    )
    assert answer.code == 0, answer.err
    assert list(tree(tmp_path / "p")) == ["unet.after-toy.txt"]
    text = (tmp_path / "p" / "unet.after-toy.txt").read_text()
    assert codec.serialise(parse_model(text)) == (tmp_path / "out.mindir").read_bytes()


def test_a_graph_that_need_not_be_made_again_is_printed_all_the_same(command: Command, tmp_path: Path) -> None:
    model = transformer().write(tmp_path / "unet.mindir")
    compile_ = ("compile", model, "-o", tmp_path / "out.mindir", "--cache-dir", tmp_path / "cache")
    assert command(*compile_).code == 0
    printed = command(*compile_, "--print-graph-after", "toy")
    assert printed.code == 0
    assert "# unet after toy" in printed.err
