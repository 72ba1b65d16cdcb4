"""Configurations of a pipeline's folder, as diffusers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attnfuse_runtime.errors import FolderError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises FolderError where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FolderError(f"{path} is no JSON object; copy it again from the pipeline.")
    return found
