"""The executor of verification runs what a compile wrote, in the graph's own types."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from attnfuse_runtime.backends import CpuBackend
from attnfuse_runtime.errors import BackendError
from attnfuse_runtime.pipeline import Pipeline
from tests.support.compiled import BFLOAT16, WEIGHT, toy

SAMPLE = np.linspace(-3, 3, 8).reshape(2, 4)


def test_in_float16(tmp_path: Path) -> None:
    found = Pipeline.from_folder(toy(tmp_path), "cpu")["toy"](timestep=np.asarray([3]), sample=SAMPLE)
    product, total = found.values()
    assert (product.dtype.name, total.dtype.name, total.tolist()) == ("float16", "int64", [6])
    np.testing.assert_array_equal(product, SAMPLE.astype(np.float16) * WEIGHT)


def test_in_bfloat16_numbers_come_in_float32(tmp_path: Path) -> None:
    found = Pipeline.from_folder(toy(tmp_path, dtype=BFLOAT16), "cpu")["toy"](timestep=np.asarray([3]), sample=SAMPLE)
    product = next(iter(found.values()))
    exact = SAMPLE.astype(BFLOAT16.numpy) * WEIGHT.astype(BFLOAT16.numpy)
    assert product.dtype == np.float32
    np.testing.assert_array_equal(product, exact.astype(np.float32))


def test_exact_numbers_are_not_rounded(tmp_path: Path) -> None:
    pipeline = Pipeline.from_folder(toy(tmp_path), CpuBackend(exact=True))
    product, total = pipeline["toy"](timestep=np.asarray([3]), sample=SAMPLE).values()
    assert (product.dtype.name, total.tolist()) == ("float64", [6])
    np.testing.assert_array_equal(product, SAMPLE.astype(np.float16).astype(np.float64) * WEIGHT.astype(np.float64))


def test_open_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="toy is of sizes left open"):
        Pipeline.from_folder(toy(tmp_path, rows=-1), "cpu")["toy"]


def test_where_attnfuse_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = toy(tmp_path)
    monkeypatch.setitem(sys.modules, "attnfuse.verify.numbers.execution", None)
    with pytest.raises(BackendError, match=r"needs attnfuse\[verify\]"):
        Pipeline.from_folder(out, "cpu")["toy"]
