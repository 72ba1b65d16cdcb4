"""Object stores that answer late or wrongly: one in memory, that fsspec knows, and one that stands before another."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem

PROTOCOL = "unlucky"


class Unlucky(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """Objects in memory. `meet` is asked before each call: what it is and its path, and may sleep or raise; `change`
    gets what was read, or what is to be written, and gives what is, None where nothing is written."""

    protocol = PROTOCOL
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    meet: ClassVar[Callable[[str, str], None]] = staticmethod(lambda call, path: None)
    change: ClassVar[Callable[[str, str, Any], Any]] = staticmethod(lambda call, path, content: content)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace(f"{PROTOCOL}://", "memory://")))

    def info(self, path: str, **more: Any) -> Any:
        type(self).meet("info", path)
        return type(self).change("info", path, super().info(path, **more))

    def cat_file(self, path: str, *arguments: Any, **more: Any) -> Any:
        type(self).meet("read", path)
        return type(self).change("read", path, super().cat_file(path, *arguments, **more))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        type(self).meet("write", path)
        content = type(self).change("write", path, value)
        if content is not None:
            super().pipe_file(path, content, mode=mode, **more)

    def find(self, path: str, *arguments: Any, **more: Any) -> Any:
        type(self).meet("list", path)
        return type(self).change("list", path, super().find(path, *arguments, **more))

    def rm_file(self, path: str) -> None:
        type(self).meet("remove", path)
        super()._rm(path)


Answered = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
Change = Callable[[str, str, Answered], Answered | None]
"""By method, path and the real store's answer: the answer that the client gets, None for a connection that breaks."""


@contextmanager
def before(address: str, change: Change) -> Iterator[str]:
    """The address of a server that hands requests on to another one, and changes the answers."""
    host = address.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else b""
            given = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            with closing(http.client.HTTPConnection(host, timeout=60)) as real:
                real.request(self.command, self.path, body, {**given, "Host": host})
                answer = real.getresponse()
                found: Answered = (answer.status, dict(answer.getheaders()), answer.read())
            changed = change(self.command, self.path, found)
            if changed is None:
                self.close_connection = True
                return
            status, headers, content = changed
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            declared = headers.get("Content-Length", str(len(content)))
            self.send_header("Content-Length", declared)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            if int(declared) != len(content):
                self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815  # what the base class looks for

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that waits no longer is none of ours."""

    with Server(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            serving.join()


def late(seconds: float) -> Callable[..., None]:
    """What takes that long."""
    return lambda *_: time.sleep(seconds)
