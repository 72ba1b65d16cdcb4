"""What a run was, for whoever looks into it later: versions, decisions, and what each stage took.

Only told where it is asked for, by -v or --log-file: no result depends on it.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attnfuse import plugins
from attnfuse.cli.console import say
from attnfuse.cli.destinations import check_apart, check_writable
from attnfuse.compiler import CompileOutcome, CompileRequest
from attnfuse.decisions import SiteRecord
from attnfuse.errors import OutputError
from attnfuse.verify import OutputFigures, Verification
from attnfuse.version import __version__

_LIBRARIES = (
    *("numpy", "protobuf", "mindspore", "mindone", "transformers", "onnx", "onnxruntime"),
    *("attnfuse-runtime", "tokenizers", "mindspore-lite"),
)


@contextlib.contextmanager
def log_to(*, verbose: bool, file: Path | None, apart: Iterable[Path | None]) -> Iterator[logging.Logger]:
    """A log that goes to stderr, to that file, to both or nowhere: which versions run, how long the block took, and an
    error that ends it. What is said on stderr anyway is logged at the level DEBUG, which the file alone has.

    The file lies in or over none of `apart`. Raises UsageError where it would, OutputError where it cannot be written.
    """
    if file is not None:
        check_log(file, apart)
    log = logging.getLogger("attnfuse.run")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    handlers: list[logging.Handler] = []
    if verbose:
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[0].setLevel(logging.INFO)
    if file is not None:
        handlers.append(_file_handler(file))
    for handler in handlers or [logging.NullHandler()]:
        log.addHandler(handler)
    began = time.monotonic()
    try:
        if handlers:
            log.info("versions: %s", _versions())
        yield log
        log.info("took %.1f s", time.monotonic() - began)
    except BaseException as error:
        log.info("ended by %s: %s", type(error).__name__, error)
        raise
    finally:
        for handler in [*log.handlers]:
            log.removeHandler(handler)
            handler.close()


def check_log(file: Path, apart: Iterable[Path | None]) -> None:
    """Raise UsageError where the log would lie in or over one of these, OutputError where it cannot be written."""
    for other in apart:
        check_apart("log", file, other, other)
    check_writable(file, "log")


class _LogFile(logging.FileHandler):
    """A log that does without what its file no longer takes: it is worth no result."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # as logging has it
        """Say it once."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            raise
        if not self.told:
            say(
                f"warning: the log {self.baseFilename} cannot be written ({error.strerror}): what follows is not in it."
            )
        self.told = True

    def close(self) -> None:
        """Also where the rest cannot be written."""
        with contextlib.suppress(OSError):
            super().close()


def _file_handler(file: Path) -> logging.Handler:
    try:
        handler = _LogFile(file, "w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(f"the log {file} cannot be written: {error.strerror or error}.") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler


def _versions() -> str:
    """Of all that takes part."""
    installed = [f"attnfuse {__version__}", f"python {platform.python_version()}", platform.platform()]
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            installed.append(f"{name} {version(name)}")
    installed += [f"plugin {plugin.name} {plugin.version}" for plugin in plugins.load().plugins]
    return ", ".join(installed)


def log_request(log: logging.Logger, request: CompileRequest) -> None:
    """What is asked of a compile."""
    log.info("source %s, for %s on %s", request.source, request.target.runtime, request.target.soc)
    for rule in request.policy.rules:
        log.info("rule: %s", rule.label)


def log_outcome(log: logging.Logger, outcome: CompileOutcome) -> None:
    """What was decided of every site."""
    for component in outcome.components:
        for record in component.sites:
            log.info("%s", _decision(record))
    for failed in outcome.report.failed:
        log.info("%s: left out: %s", failed.name, failed.reason)
    if outcome.verification is not None:
        log_verification(log, outcome.verification)


def log_verification(log: logging.Logger, verification: Verification) -> None:
    """The figures of every output and site, and what each stage took."""
    for component in verification.components:
        for one in component.outputs:
            log.info("%s: output %s: %s", component.name, one.output, _compared(one))
        for site in component.sites:
            log.info("%s: site %s: %s", component.name, site.module, _compared(site.figures))
        for stage, seconds in component.seconds.items():
            log.info("%s: %s %.1f s", component.name, stage, seconds)
        for text in component.not_verified:
            log.info("%s: not verified: %s", component.name, text)
        for finding in component.findings:
            log.info("%s: differs: %s", component.name, finding)


def _compared(figures: OutputFigures) -> str:
    verdict = "passed" if figures.passed else "differs"
    return f"{verdict}: relative error {figures.fused:.2e}, tolerance {figures.tolerance:.2e}"


def log_stages(log: logging.Logger, whose: str, milliseconds: Mapping[str, float]) -> None:
    """What the stages of a picture took, by component."""
    for name, value in milliseconds.items():
        log.info("%s%s %.3f s", whose, name, value / 1000)


def told(log: logging.Logger, tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tells, and has it in the log's file too."""

    def both(text: str) -> None:
        tell(text)
        log.debug("%s", text)

    return both


def _decision(record: SiteRecord) -> str:
    """`unet/blocks.0.attn1: fused (fused) by default: 5 obligations proved; BSH: 0 Transposes`."""
    rule = f" by {record.rule}" if record.rule else ""
    why = "; ".join(filter(None, (record.reason, record.layout_reason)))
    return f"{record.id}: {record.status} ({record.code}){rule}{f': {why}' if why else ''}"
