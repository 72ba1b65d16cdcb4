"""onnxruntime, told not to report: its wheels send their maker what they are used for, unless a variable is set.

Without it they leave a file of theirs (`.ses`) in the folder for temporary files, too. Whoever sets the variable to
something else has decided.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is loaded

import onnxruntime

__all__ = ["onnxruntime"]
