"""Whether there is room for a result: told before the work where that is clear, and before each large file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from attnfuse.errors import OutputError
from attnfuse.report.units import human_bytes


def free_bytes(place: Path) -> int | None:
    """Bytes free where something is to be made, which need not be there yet; None where the system does not say."""
    folder = Path(os.path.realpath(place))
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def check_room(place: Path, needed: int) -> None:
    """Raise OutputError where fewer bytes are free at a place than are needed at least."""
    free = free_bytes(place)
    if free is not None and free < needed:
        raise OutputError(
            f"{place} needs {human_bytes(needed)} at least, and {human_bytes(free)} are free there: make room, or "
            "choose another place."
        )
