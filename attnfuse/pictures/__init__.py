"""Pictures of a compiled pipeline: made, compared with those of the unfused graphs, and kept for a device.

    running      a prompt through an output folder, and what each component was fed
    recording    what components were fed and gave
    metrics      how far numbers and pictures are apart
    unfused      the graphs of a source as they were traced, as a pipeline
    comparison   the same prompt, noise and steps through both
    golden       what the unfused graphs gave, written into an output
    align        the script beside it, which holds a device to that

All but this file, `metrics` and `align` import attnfuse-runtime, a wheel of its own: it is imported when it is needed.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from attnfuse.errors import UsageError
from attnfuse.verify import require_executor

BackendName = Literal["cpu", "lite"]
_NEEDED = ("attnfuse_runtime", "tokenizers", "PIL")


def require_runtime(what: str, *backends: BackendName) -> None:
    """Raise UsageError, before the long work, where the runtime is not installed, or the executor of "cpu".

    `what` is what needs it, as the message begins.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"{what} needs {' and '.join(missing)}, not installed here: pip install 'attnfuse[run]'.")
    if "cpu" in backends:
        require_executor("numbers")
