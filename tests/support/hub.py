"""A hub on the loop-back interface: one repository of files, as far as huggingface_hub's client asks for them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(files: Mapping[str, bytes], token: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The address of a hub that has `org/name`, and what is asked of it: methods and paths.

    Its revisions are "main" and "old", which have the same files. Who does not bring the token is refused.
    """
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            asked.append((self.command, self.path.partition("?")[0]))
            if self.headers.get("Authorization") != f"Bearer {token}":
                self._send(401, b"{}")
                return
            path = self.path.partition("?")[0]
            for revision in ("main", "old", COMMIT):
                if path in ("/api/models/org/name", f"/api/models/org/name/revision/{revision}"):
                    listed = [{"rfilename": name} for name in files]
                    self._send(200, json.dumps({"id": "org/name", "sha": COMMIT, "siblings": listed}).encode())
                    return
                name = path.removeprefix(f"/org/name/resolve/{revision}/")
                if name in files:
                    self._send(200, files[name])
                    return
            self._send(404, b"{}")

        def _send(self, code: int, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
