"""What is written lies over nothing that is read, waits for nobody, and is told of where it cannot be."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from pathlib import Path

import pytest

from attnfuse.cli.log import _file_handler
from attnfuse.errors import OutputError, UsageError
from attnfuse.output import write_file
from attnfuse.store.places import read_secret
from tests.cli.conftest import Command
from tests.support.console import command as command_line
from tests.support.console import environment
from tests.support.graphs import transformer
from tests.support.waiting import PATIENCE

COMPILE = ("compile", "x.mindir", "-o", "out.mindir")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with what commands are given: graphs, a policy, a key, a hard link, a pipe."""
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y"):
        transformer(sites=1).write(tmp_path / f"{name}.mindir")
    (tmp_path / "hard").hardlink_to(tmp_path / "x.mindir")
    (tmp_path / "policy.toml").touch()
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "lora").write_bytes(b"a LoRA")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*COMPILE, "--report", "hard"), "hard is given as SOURCE and as --report; name another place for the report."),
        (
            (*COMPILE, "--log-file", "hard"),
            "hard is given as SOURCE and as --log-file; name another place for",
        ),
        ((*COMPILE, "--policy", "policy.toml", "--report", "policy.toml"), "is given as --policy and as --report"),
        (("inspect", "x.mindir", "--policy", "policy.toml", "--html", "policy.toml"), "as --policy and as --html"),
        ((*COMPILE, "--cache-dir", "c", "--cache-key", "key", "--log-file", "key"), "as --cache-key and as --log-file"),
        ((*COMPILE, "--lora", "lora:0.5", "--log-file", "lora"), "given as --lora and as --log-file"),
        ((*COMPILE, "--report", "new", "--log-file", "./new"), "given as --log-file and as --report"),
        ((*COMPILE, "--report", "pipe"), "the report pipe is a device, a pipe or a socket; name a file."),
        ((*COMPILE, "--log-file", "pipe"), "the log pipe is a device, a pipe or a socket; name a file."),
        (("text", "x.mindir", "-o", "pipe"), "the output pipe is a device, a pipe or a socket; name a file."),
        (("inspect", "x.mindir", "--html", "/dev/full"), "the report /dev/full is a device, a pipe or a socket"),
        (
            (*COMPILE, "--cache-dir", "c", "--cache-key", "pipe"),
            "the key file pipe cannot be read: it is not",
        ),
        (("compile", "x.mindir", "-o", "o\0.mindir"), "has a NUL character in it"),
        ((*COMPILE, "--max-memory", f"1{'0' * 400}GiB"), "is no size; give one such as 8GiB."),
    ],
)
def test_refused_and_nothing_touched(command: Command, here: Path, arguments: tuple[str, ...], said: str) -> None:
    before = held(here)
    answer = command(*arguments)
    assert (answer.code, said in " ".join(answer.err.split())) == (2, True), answer.err
    assert held(here) == before
    assert not (here / "out.mindir").exists()


@pytest.mark.parametrize(
    "arguments",
    [("compile", "x.mindir", "-o", b"o\xe9.mindir"), (*COMPILE, "--no-flash", b"\xff")],
    ids=["file", "rule"],
)
def test_names_that_are_no_text(here: Path, arguments: tuple[str | bytes, ...]) -> None:
    """In a process of its own: pytest-xdist cannot hand on a log that has them."""
    before = held(here)
    python, dash, program, *_ = command_line()
    done = subprocess.run(
        [python, dash, program, *arguments],
        env=environment(),
        cwd=here,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert b"a name is no text in UTF-8" in done.stderr
    assert held(here) == before


@pytest.mark.parametrize(
    ("document", "more", "said"),
    [
        ("", ("--state", "b.toml"), "b.toml is given as FILE and as --state; name another place for the state."),
        ("", ("--state", "y.mindir"), "the state y.mindir would lie over the source of compile 2"),
        ('report = "b.toml"', (), "the report b.toml would lie over the batch b.toml; name another place."),
        ('report = "y.mindir"', (), "the report y.mindir would lie over the source of compile 2; name another place."),
        ('log-file = "b.toml.state.json"', (), "the log-file b.toml.state.json is that of two"),
        ('policy = "a\\u0000"', (), "has a text with a NUL character in it, which no name can have; correct it."),
        (
            "each.seed = [1, 2]\neach.width = " + str([*range(10_000)]),
            (),
            "each makes 20000 compiles, and 10000 at most",
        ),
    ],
)
def test_a_batch_keeps_what_it_reads(
    command: Command, here: Path, document: str, more: tuple[str, ...], said: str
) -> None:
    first = '[[compile]]\nsource = "x.mindir"\noutput = "out.mindir"\n'
    second = '[[compile]]\nsource = "y.mindir"\noutput = "other.mindir"\n'
    (here / "b.toml").write_text(f"{first}{document}\n{second}")
    before = held(here)
    answer = command("batch", "b.toml", "--workers", "1", *more)
    assert (answer.code, said in " ".join(answer.err.split())) == (2, True), answer.err
    assert held(here) == before


def test_a_link_is_written_through(command: Command, here: Path) -> None:
    (here / "link").symlink_to("target")
    assert command("text", "x.mindir", "-o", "link").code == 0
    assert (here / "link").is_symlink()
    assert (here / "target").stat().st_size > 0
    with pytest.raises(OutputError, match="a device, a pipe or a socket"):
        write_file(here / "pipe", b"")


def test_a_key_without_an_end_is_not_read_to_it(here: Path) -> None:
    (here / "long").write_bytes(b"k" * (1 << 17))
    with pytest.raises(UsageError, match="holds more than 65536 bytes; write 32 random ones into it"):
        read_secret(here / "long")
    with pytest.raises(UsageError, match="it is not a regular file"):
        read_secret(Path("/dev/zero"))


def test_a_log_whose_file_takes_nothing_is_told_of_once(capfd: pytest.CaptureFixture[str]) -> None:
    handler = _file_handler(Path("/dev/full"))
    for _ in range(3):
        handler.handle(logging.LogRecord("run", logging.INFO, "", 0, "a line", (), None))
    handler.close()
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith("warning: the log /dev/full cannot be written (No space left on device): ")


def test_a_stdout_that_takes_nothing(here: Path) -> None:
    """Exit code 2 and a sentence, and not 1, which says that a requirement does not hold."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command_line(*COMPILE, "--json"),
            env=environment(),
            cwd=here,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: there is no space left where the result is written")
    assert json.loads((here / "out.manifest.json").read_text())["outputs"]


def test_a_stderr_that_nobody_reads_any_more(here: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command_line(*COMPILE, "-v"),
            env=environment(),
            cwd=here,
            stdout=subprocess.PIPE,
            stderr=writing,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode in (0, 141)
