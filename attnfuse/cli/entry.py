"""The group of commands, and how a run of one ends: errors become one sentence and an exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import click

from attnfuse.cli import exit_codes
from attnfuse.cli.batch import batch_command
from attnfuse.cli.cache import cache_command
from attnfuse.cli.compare import compare_command
from attnfuse.cli.compile import compile_command
from attnfuse.cli.components import components_command
from attnfuse.cli.console import encode_what_cannot_be, say
from attnfuse.cli.defects import keep_details, report_defect
from attnfuse.cli.explain import explain_command
from attnfuse.cli.help import HELP_OPTIONS
from attnfuse.cli.inspect import inspect_command
from attnfuse.cli.passes import passes_command
from attnfuse.cli.plugins import plugins_command
from attnfuse.cli.policy import policy_group
from attnfuse.cli.reduce import reduce_command
from attnfuse.cli.report import report_command
from attnfuse.cli.run import run_command
from attnfuse.cli.text import text_command
from attnfuse.cli.tune import tune_command
from attnfuse.cli.verify import verify_command
from attnfuse.errors import AttnfuseError, InternalError, OutputError, PluginError, UsageError
from attnfuse.names import shortened
from attnfuse.processes import Terminated, stop_once
from attnfuse.version import __version__

ERROR_SCHEMA = "attnfuse.error/1"
_LOST = "{} cannot be read or written any more: "
_REFUSED = {
    errno.ENOSPC: "there is no space left where the result is written; free some and run again.",
    errno.EDQUOT: "the quota is used up where the result is written; free some space and run again.",
    errno.EFBIG: "{} would be larger than a file may be (ulimit -f); allow more and run again.",
    errno.EROFS: "{} lies on a file system that is read-only; name another place, or have it be written to.",
    errno.EMFILE: "more files are open than may be (ulimit -n); allow more and run again.",
    errno.EIO: f"{_LOST}the device has an error; look at the system's log.",
    errno.ESTALE: f"{_LOST}the share that it lies on went away; run again when it is there.",
}
"""What is said where the system refuses, wherever that is met: none of it is a defect of attnfuse."""


def main() -> NoReturn:
    """All of the console script but what `attnfuse.__main__` does before this can be imported."""
    stop_once()  # a run that is asked to stop cleans up after itself
    try:
        code = run(sys.argv[1:])
    except Terminated as stopped:
        _leave(stopped.code)
    if code == exit_codes.INTERRUPTED:
        _leave(code)
    sys.exit(code)


def _leave(code: int | str | None) -> NoReturn:
    """End at once: all was cleaned up, and the interpreter's own end waits for threads and frees what was held."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader may be gone
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    encode_what_cannot_be()
    return ended(arguments, lambda: cli.main(list(arguments), prog_name="attnfuse", standalone_mode=False))


def ended(arguments: Sequence[str], work: Callable[[], object]) -> int:
    """Do the work of a command with these arguments; its exit code, errors told in a sentence."""
    stdout = sys.stdout
    try:
        code = work()
    except click.exceptions.Abort:
        say("interrupted; nothing was written.")
        return _told(arguments, "Interrupted", "interrupted; nothing was written.", exit_codes.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return _told(arguments, "UsageError", error.format_message(), error.exit_code)
    except SystemExit:
        # Of click, where the reader of stdout went away: it puts another in its place, and exits with 1.
        if sys.stdout is not stdout:
            return exit_codes.BROKEN_PIPE
        raise
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            message = f"the name {shortened(str(error.filename), 120)} is longer than that of a file can be."
            say(f"error: {message}")
            return _told(arguments, "UsageError", message, UsageError.exit_code)
        if error.errno not in _REFUSED:
            return _defect(arguments, error)
        message = _REFUSED[error.errno].format(error.filename or "a file")
        say(f"error: {message}")
        return _told(arguments, "OutputError", message, OutputError.exit_code)
    except PluginError as error:
        kept = keep_details(error, arguments)
        say(f"error: {error} {'Its details could not be kept.' if kept is None else f'Details are in {kept}.'}")
        return _told(arguments, "PluginError", str(error), error.exit_code)
    except AttnfuseError as error:
        if isinstance(error, InternalError):
            return _defect(arguments, error)
        say(f"error: {error}")
        return _told(arguments, type(error).__name__, str(error), error.exit_code)
    except ValueError as error:
        if (wrong := _no_name(error)) is None:
            return _defect(arguments, error)
        say(f"error: {wrong}")
        return _told(arguments, "UsageError", wrong, UsageError.exit_code)
    except Exception as error:
        return _defect(arguments, error)
    return code if isinstance(code, int) else 0


def _no_name(error: ValueError) -> str | None:
    """What is said of a name that no file can have, or no text, wherever that is met; None for any other error."""
    if "embedded null" in str(error):
        return "the name of a file, or a value, has a NUL character in it, which none can have; correct it."
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        around = error.object[max(error.start - 40, 0) : error.end + 20].encode(errors="backslashreplace").decode()
        return f"a name is no text in UTF-8, and reports are: {' '.join(around.split())}; give it another."
    return None


def _defect(arguments: Sequence[str], error: Exception) -> int:
    return _told(arguments, "InternalError", str(error), report_defect(error, arguments))


def _told(arguments: Sequence[str], kind: str, message: str, code: int) -> int:
    """The exit code; where the result was to be JSON, the error is told as that too."""
    if "--json" in arguments:
        document = {"schema": ERROR_SCHEMA, "error": kind, "message": message, "exit_code": code}
        with suppress(OSError):  # where stdout takes nothing, that may be what is told
            click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    return code


@click.group(context_settings={**HELP_OPTIONS, "max_content_width": 110})
@click.version_option(__version__, prog_name="attnfuse")
def cli() -> None:
    """Compile mindone diffusers pipelines to MindIR with every provable attention fused for Ascend."""


for _command in (
    batch_command,
    cache_command,
    compare_command,
    compile_command,
    components_command,
    explain_command,
    inspect_command,
    passes_command,
    plugins_command,
    policy_group,
    reduce_command,
    report_command,
    run_command,
    text_command,
    tune_command,
    verify_command,
):
    cli.add_command(_command)
