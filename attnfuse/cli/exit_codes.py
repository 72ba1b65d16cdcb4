"""Exit codes that no error of attnfuse carries, which `attnfuse.errors` has, and what each code says."""

from __future__ import annotations

import signal
from collections.abc import Mapping

UNMET = 1  # --require or --check
VERIFICATION = 4
PARTLY_VERIFIED = 5  # nothing differs, and not all could be compared
DEFECT = 70
INTERRUPTED = 130
BROKEN_PIPE = 128 + signal.SIGPIPE  # as of others, which the signal kills

MEANINGS: Mapping[int, str] = {
    0: "done",
    1: "a requirement (--require, --check, --budget) does not hold, or nothing is wrong that could be reduced",
    2: "a wrong option, policy or output place",
    3: "a source, a component of it or a plugin that cannot be used",
    4: "the result differs, or could not be verified",
    5: "nothing differs, and not all could be verified",
    70: "a defect of attnfuse",
    130: "interrupted",
}
