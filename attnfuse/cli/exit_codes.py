"""Exit codes that no error of attnfuse carries; `attnfuse.errors` has the others."""

from __future__ import annotations

import signal

UNMET = 1  # --require or --check
VERIFICATION = 4
PARTLY_VERIFIED = 5  # nothing differs, and not all could be compared
DEFECT = 70
INTERRUPTED = 130
BROKEN_PIPE = 128 + signal.SIGPIPE  # as of others, which the signal kills
