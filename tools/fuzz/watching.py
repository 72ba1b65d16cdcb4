"""Which files Python opens that no name in a document may lead to: told by the interpreter's own audit events."""

from __future__ import annotations

import os
import sys
from typing import Any, Final


class Watch:
    """Which files of some folders Python opens: names in documents must not lead there."""

    def __init__(self) -> None:
        self._folders: tuple[str, ...] = ()
        self._opened = ""
        self._hooked = False

    def begin(self, folders: tuple[str, ...]) -> None:
        """Look at what is opened whose path begins so."""
        if not self._hooked:
            sys.addaudithook(self._hook)
            self._hooked = True
        self._folders, self._opened = folders, ""

    def end(self) -> str:
        """The last of them that was opened, or nothing."""
        self._folders = ()
        return self._opened

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self._folders and isinstance(arguments[0], str | os.PathLike):
            path = os.path.normpath(arguments[0])
            if path.startswith(self._folders):
                self._opened = path


WATCH: Final = Watch()
"""The only one: what is hooked in stays as long as the process."""
