"""Help: sections, an example, exit codes; and nothing that 80 columns do not hold."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from attnfuse.cli.entry import cli
from attnfuse.cli.help import HelpfulCommand


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def help_of(command: click.Command) -> str:
    """As the group has it: click keeps the help option of the first context that a command is asked in."""
    context = click.Context(command, info_name="x", terminal_width=80, help_option_names=["-h", "--help"])
    return command.get_help(context)


ALL = [pytest.param(command, id=" ".join(path)) for path, command in commands()]


@pytest.mark.parametrize("command", ALL)
def test_every_command_has_examples_and_exit_codes(command: click.Command) -> None:
    assert isinstance(command, HelpfulCommand)
    text = help_of(command)
    examples, _, codes = text.partition("Examples:")[2].partition("Exit codes:")
    assert examples.strip().splitlines() != []
    assert codes.split()[:2] == ["0", "done"]
    told = [line for line in text.splitlines() if line.strip() not in command.examples]
    assert max(map(len, told)) <= 80


@pytest.mark.parametrize("command", ALL)
def test_examples_are_of_the_command_and_its_options(command: click.Command) -> None:
    assert isinstance(command, HelpfulCommand)
    path = next(path for path, one in commands() if one is command)
    for example in command.examples:
        words = shlex.split(example.partition(" >")[0])
        assert words[: len(path) + 1] == ["attnfuse", *path]
        command.make_context(example, words[len(path) + 1 :])


@pytest.mark.parametrize("command", ALL)
def test_every_option_is_explained(command: click.Command) -> None:
    assert [one.opts for one in command.params if isinstance(one, click.Option) and not one.help] == []


def test_options_stand_in_sections() -> None:
    command = cli.commands["compile"]
    text = help_of(command)
    titles = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        *("Result:", "What is compiled:", "Target and policy:", "Verification:"),
        *("Workers:", "What is told:", "Other:"),
        *("Examples:", "Exit codes:"),
    ]
    assert text.partition("Other:")[2].partition("Examples:")[0].split()[:2] == ["-h,", "--help"]
