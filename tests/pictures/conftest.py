"""A pipeline that makes pictures, and what was compiled of it."""

from __future__ import annotations

from tests.support.painter import Painted, painted, painted_once

__all__ = ["Painted", "painted", "painted_once"]
