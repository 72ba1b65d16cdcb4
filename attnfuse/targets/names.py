"""Other names of the SoCs: those of `npu-smi info`, of CANN's `--soc_version`, and of the converter's configuration.

Each board of a kind is a row of its own in CANN (`Ascend910B1` to `Ascend910B4`), with the same operators and kernels
but other clocks and numbers of cores; attnfuse has one row for each kind. Source: the platform configurations of CANN
8.1 (`platform_config/*.ini`, `Short_SoC_version`). There, `Ascend910B` without a number is the kind.
"""

from __future__ import annotations

import re

from attnfuse.errors import UsageError
from attnfuse.names import nearest
from attnfuse.targets.limits import SOCS

BOARDS: dict[str, tuple[str, ...]] = {
    "ascend310p": ("310P1", "310P3", "310P5", "310P7"),
    "ascend910": ("910A", "910ProA", "910ProB", "910PremiumA"),
    "ascend910b": ("910B1", "910B2", "910B2C", "910B3", "910B4", "910B4-1"),
    "ascend910_93": ("910C", "910_9362", "910_9372", "910_9381", "910_9382", "910_9391", "910_9392"),
}
"""By the name that attnfuse has, those of boards, as `npu-smi info` shows them; with or without "Ascend" in front."""


def _key(name: str) -> str:
    """What is the same of two spellings of a name."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).removeprefix("ascend")


_ROWS = {_key(name): soc for soc in SOCS for name in (soc, *BOARDS[soc])}


def soc_named(name: str) -> str:
    """The SoC, one of `SOCS`, of that name, its own or that of a board.

    Raises UsageError, with the nearest name, for one that is not known.
    """
    if name.strip().lower() == "910b":
        raise UsageError(
            "'910B' alone is a board of the first 910 (ascend910) as well as the kind of 910B1 to 910B4 (ascend910b); "
            "name the one that is meant."
        )
    found = _ROWS.get(_key(name))
    if found is not None:
        return found
    near = _near(_key(name))
    hint = "" if near is None else f" Did you mean {near!r}?"
    raise UsageError(f"{name!r} is not one of {', '.join(SOCS)}, nor of their boards (910B4, 310P3, …).{hint}")


def _near(key: str) -> str | None:
    """The SoC that is meant, as far as the digits tell: 310B is another kind than 310P, however alike they look."""
    digits = key.lstrip("abcdefghijklmnopqrstuvwxyz")
    found = nearest(digits, [known for known in _ROWS if known[:4] == digits[:4]])
    return None if found is None else _ROWS[found]
