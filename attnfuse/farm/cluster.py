"""Workers of a Dask cluster, by the address of its scheduler.

What attnfuse sends and gets are the texts of `attnfuse.farm.units`; how Dask frames a call of `perform` with them is
Dask's own. Who may connect to a scheduler has its workers run anything: TLS, with certificates of one's own, is how
Dask keeps others out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attnfuse.errors import UsageError
from attnfuse.farm.perform import perform
from attnfuse.farm.units import TRIES, Answer
from attnfuse.names import shortened
from attnfuse.processes import LOOK_SECONDS
from attnfuse.serialisation import parse_json

_CONNECT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Tls:
    """Files (PEM) of who signs certificates, of one's own certificate and of its key."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class Cluster:
    """The workers of one scheduler, as long as the context lasts."""

    def __init__(self, address: str, tls: Tls) -> None:
        """Raises UsageError where Dask is not installed, nobody answers there, or there is no worker."""
        try:
            from distributed import Client
            from distributed.security import Security
        except ModuleNotFoundError:
            raise UsageError("--scheduler needs Dask: install attnfuse[farm].") from None
        given = {"tls_ca_file": tls.ca, "tls_client_cert": tls.certificate, "tls_client_key": tls.key}
        files = {name: str(file) for name, file in given.items() if file is not None}
        try:
            security = Security(require_encryption=True, **files) if files else Security()
            self._client: Any = Client(address, security=security, timeout=_CONNECT_SECONDS, set_as_default=False)
        except Exception as error:  # Dask's, tornado's, ssl's and the system's
            said = shortened(" ".join(str(error).split()) or type(error).__name__, 200).rstrip(".")
            raise UsageError(f"no Dask scheduler answers at {address}: {said}.") from None
        self.count = len(self._client.scheduler_info(n_workers=-1)["workers"])
        if not self.count:
            self._client.close()
            raise UsageError(f"the Dask scheduler at {address} has no workers; start some with dask worker {address}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        """See `attnfuse.farm.units.Workers`. Dask gives what a worker died at to another one."""
        pending = {
            self._client.submit(on_worker, text, key=f"attnfuse-{digest}", pure=True, retries=TRIES - 1): digest
            for digest, text in texts.items()
        }
        try:
            while pending:
                done = [future for future in pending if future.done()]
                if not done:
                    time.sleep(LOOK_SECONDS)
                for future in done:
                    yield pending.pop(future), _answer(future)
        finally:
            self._client.cancel(list(pending), force=True)


def on_worker(text: str) -> str:
    """`perform`, in the memory that a Dask worker was given."""
    from distributed import get_worker

    limit = getattr(get_worker(), "memory_manager", None)
    return perform(text, getattr(limit, "memory_limit", None) or None)


def _answer(future: Any) -> Answer:
    if future.status == "finished":
        return parse_json(Answer, future.result())
    error = future.exception() if future.status == "error" else future.status
    return Answer(f"the cluster could not do it: {shortened(' '.join(str(error).split()), 200).rstrip('.')}")
