"""The commands and programs that the documentation shows: all are well formed, and those that can run here do."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from attnfuse.cli.entry import cli
from attnfuse.tracing.demo import write_demo

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(sorted((ROOT / "docs").rglob("*.md")))
#: Begins the paragraph before a block that needs what is not here, and says what.
_NOT_RUN = "*Not run here"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: its language, its lines, and whether the page says that it was not run."""

    page: Path
    language: str
    text: str
    is_run: bool

    @property
    def commands(self) -> list[str]:
        """The commands of a console, each one line."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    found = []
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(console|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: match.start()].rstrip().rsplit("\n\n", 1)[-1]
        found.append(Block(page, match[1], match[2], not before.startswith(_NOT_RUN)))
    return found


def _parse(arguments: list[str]) -> None:
    """Raises click's UsageError where the command line is none. Runs nothing."""
    command: click.Command = cli
    name = "attnfuse"
    while isinstance(command, click.Group) and arguments and arguments[0] in command.commands:
        name, command, arguments = arguments[0], command.commands[arguments[0]], arguments[1:]
    assert not isinstance(command, click.Group), f"{name} has no command {arguments[:1]}"
    command.make_context(name, list(arguments))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_commands_and_programs_are_well_formed(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)
        for line in block.commands:
            words = shlex.split(line, comments=True)
            if words[0] == "attnfuse":
                _parse(words[1 : next((at for at, word in enumerate(words) if word in (">", ">>")), None)])


def test_an_option_that_is_not_there_is_found() -> None:
    with pytest.raises(click.UsageError):
        _parse(["compile", "source", "-o", "out", "--no-such-option"])


def test_every_block_that_is_not_run_says_what_it_needs() -> None:
    for page in PAGES:
        for marked in re.findall(rf"^{re.escape(_NOT_RUN)}.*$", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.fullmatch(r"\*Not run here[^:：]*[:：] ?.+\*", marked), f"{page.name}: {marked}"


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.is_run for block in blocks(page))],
    ids=lambda page: page.relative_to(ROOT / "docs").as_posix(),
)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path) -> None:
    """Its blocks one after the other, in a folder that has the demo pipeline as a checkpoint."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    _checkpoint(tmp_path, environment)
    for block in blocks(page):
        if not block.is_run:
            continue
        script = "set -e\n" + "\n".join(block.commands) if block.language == "console" else ""
        command = ["bash", "-c", script] if script else [sys.executable, "-c", block.text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page.name}: {block.text}\n{done.stderr[-3000:]}"


def _checkpoint(folder: Path, environment: dict[str, str]) -> None:
    """`stable-diffusion-v1-5`, which is the demo pipeline, and `unet_graph.mindir` as it is exported."""
    (folder / "stable-diffusion-v1-5").mkdir()
    write_demo(folder / "stable-diffusion-v1-5")
    plain = ["--runtime", "mindspore", "--no-flash", "*", "--component", "unet", "-o", "plain"]
    subprocess.run(["attnfuse", "compile", "stable-diffusion-v1-5", *plain], cwd=folder, env=environment, check=True)
    for name in ("unet_graph.mindir", "unet_variables"):
        shutil.move(folder / "plain" / name, folder / name)
    shutil.rmtree(folder / "plain")
