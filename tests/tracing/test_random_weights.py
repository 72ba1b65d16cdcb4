"""Random checkpoints are the same bytes everywhere, readable by safetensors, and in a sane range."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from attnfuse.tracing import random_weights
from attnfuse.tracing.random_weights import write_random

TENSORS = [
    ("conv.weight", (8, 16, 3, 3)),
    ("conv.bias", (8,)),
    ("norm.weight", (64,)),
    ("attn1.to_q.weight", (64, 64)),
    ("attn1.to_out.0.weight", (64, 64)),
]


def test_bytes_do_not_depend_on_machine_or_library(tmp_path: Path) -> None:
    digests = {}
    for dtype in ("float16", "bfloat16", "float32"):
        count = write_random(tmp_path / dtype, TENSORS, dtype, "seed")
        assert count == 8 * 16 * 9 + 8 + 64 + 2 * 64 * 64
        digests[dtype] = hashlib.sha256((tmp_path / dtype).read_bytes()).hexdigest()[:16]
    assert digests == {
        "float16": "31f520c54f2e1dfd",
        "bfloat16": "5c72122252d77014",
        "float32": "ec4ee1d8dc0cb4be",
    }


def test_chunks_leave_no_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_random(tmp_path / "whole", TENSORS, "float32", "seed")
    monkeypatch.setattr(random_weights, "_CHUNK", 100)
    write_random(tmp_path / "chunks", TENSORS, "float32", "seed")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "chunks").read_bytes()


def test_values_depend_on_name_and_seed(tmp_path: Path) -> None:
    twins = [("a.weight", (4, 4)), ("b.weight", (4, 4))]
    write_random(tmp_path / "one", twins, "float32", "one")
    write_random(tmp_path / "two", twins, "float32", "two")
    one, two = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    assert not np.array_equal(one["a.weight"], one["b.weight"])
    assert not np.array_equal(one["a.weight"], two["a.weight"])


def test_scales_by_role(tmp_path: Path) -> None:
    write_random(tmp_path / "file", TENSORS, "float32", "seed")
    tensors = load_file(tmp_path / "file")
    assert tensors["norm.weight"].mean() == pytest.approx(1, abs=0.1)
    assert tensors["attn1.to_q.weight"].std() * 64**0.5 == pytest.approx(1.6, rel=0.05)
    assert tensors["attn1.to_out.0.weight"].std() * 64**0.5 == pytest.approx(0.5, rel=0.05)
    assert tensors["conv.weight"].std() * 144**0.5 == pytest.approx(1, rel=0.1)
    assert all(np.abs(tensor).max() < 4 for tensor in tensors.values())


def test_half_types_are_the_rounded_floats(tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        write_random(tmp_path / dtype, TENSORS, dtype, "seed")
    exact = load_file(tmp_path / "float32")
    with safe_open(tmp_path / "bfloat16", framework="numpy") as file:
        for name, _ in TENSORS:
            np.testing.assert_array_equal(file.get_tensor(name), exact[name].astype(ml_dtypes.bfloat16))
