"""What a run was, for whoever looks into it later: versions, decisions, and what each stage took.

Only told where it is asked for, by -v or --log-file: no result depends on it.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attnfuse import plugins
from attnfuse.compiler import CompileOutcome, CompileRequest
from attnfuse.decisions import SiteRecord
from attnfuse.errors import OutputError
from attnfuse.version import __version__

_LIBRARIES = ("numpy", "protobuf", "mindspore", "mindone", "transformers", "onnx", "onnxruntime")


@contextlib.contextmanager
def log_to(*, verbose: bool, file: Path | None) -> Iterator[logging.Logger]:
    """A log that goes to stderr, to that file, to both or nowhere; an error that ends the block is in it.

    Raises OutputError where the file cannot be written.
    """
    log = logging.getLogger("attnfuse.run")
    log.setLevel(logging.INFO)
    log.propagate = False
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)] if verbose else []
    if file is not None:
        handlers.append(_file_handler(file))
    for handler in handlers or [logging.NullHandler()]:
        log.addHandler(handler)
    try:
        yield log
    except BaseException as error:
        log.info("ended by %s: %s", type(error).__name__, error)
        raise
    finally:
        for handler in [*log.handlers]:
            log.removeHandler(handler)
            handler.close()


def _file_handler(file: Path) -> logging.Handler:
    try:
        handler = logging.FileHandler(file, "w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(f"the log {file} cannot be written: {error.strerror or error}.") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler


def log_request(log: logging.Logger, request: CompileRequest) -> None:
    """Which versions run, and what they are asked."""
    installed = [f"attnfuse {__version__}", f"python {platform.python_version()}", platform.platform()]
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            installed.append(f"{name} {version(name)}")
    installed += [f"plugin {plugin.name} {plugin.version}" for plugin in plugins.load().plugins]
    log.info("versions: %s", ", ".join(installed))
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


def _decision(record: SiteRecord) -> str:
    """`unet/blocks.0.attn1: fused (fused) by default: 5 obligations proved; BSH: 0 Transposes`."""
    rule = f" by {record.rule}" if record.rule else ""
    why = "; ".join(filter(None, (record.reason, record.layout_reason)))
    return f"{record.id}: {record.status} ({record.code}){rule}{f': {why}' if why else ''}"
