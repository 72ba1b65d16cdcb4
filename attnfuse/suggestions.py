"""What was probably meant by a name that nothing has, for the end of a sentence that says so.

Imports nothing of the project.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(given: str, known: Sequence[str]) -> str:
    """`did you mean 'fuse'? (known: fuse, share)`, or `known: fuse, share.` where nothing is near."""
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)  # fp16 means float16
    listed = ", ".join(known) or "none"
    return f"did you mean {near[0]!r}? (known: {listed})" if near else f"known: {listed}."
