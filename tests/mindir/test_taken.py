"""Weights that are rows of a tensor, or one with its axes exchanged: any run of their elements, and with a LoRA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.errors import SourceError
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, DType
from attnfuse.mindir.low_rank import LowRank
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.mindir.taken import Taken, read_taken
from attnfuse.mindir.tensorfile import TensorFile

WHOLE = np.arange(60, dtype=np.float32).reshape(12, 5)
CASES = [
    (Taken("w"), WHOLE),
    (Taken("w", ((1, 2),), 3), WHOLE[4:8]),
    (Taken("w", ((1, 2), (0, 1)), 2), np.concatenate([WHOLE[6:], WHOLE[:6]])),
    (Taken("w", transposed=True), WHOLE.T),
    (Taken("w", ((2, 3),), 3, transposed=True), WHOLE[8:].T),
]


@dataclass(frozen=True)
class Tensor:
    file: Path
    key: str
    taken: Taken | None = None


def model(shape: tuple[int, ...], dtype: DType) -> ModelProto:
    made = ModelProto()
    made.graph.parameter.add(name="g:p", data_type=dtype.wire).dims.extend(shape)
    return made


@pytest.mark.parametrize(("taken", "wanted"), CASES)
def test_any_run_of_elements(taken: Taken, wanted: np.ndarray, tmp_path: Path) -> None:  # type: ignore[type-arg]
    save_file({"w": WHOLE}, tmp_path / "f")
    file, flat = TensorFile(tmp_path / "f"), wanted.reshape(-1)
    assert taken.shape(WHOLE.shape) == wanted.shape
    for first in range(0, flat.size, 7):
        for last in (first + 1, (first + flat.size) // 2 + 1, flat.size):
            data = b"".join(read_taken(file, taken, FLOAT32, [], first, last))
            np.testing.assert_array_equal(np.frombuffer(data, np.float32), flat[first:last])


@pytest.mark.parametrize(("taken", "wanted"), CASES)
def test_a_lora_is_merged_into_it(taken: Taken, wanted: np.ndarray, tmp_path: Path) -> None:  # type: ignore[type-arg]
    save_file({"w": WHOLE}, tmp_path / "f")
    factors = {"up": np.ones((len(wanted), 1), np.float32), "down": np.ones((1, wanted.shape[1]), np.float32)}
    save_file(factors, tmp_path / "lora")
    added = {"p": [LowRank(tmp_path / "lora", "up", "down", 2.0)]}
    stored = StoredWeights(model(wanted.shape, FLOAT16), {}, {"p": Tensor(tmp_path / "f", "x", taken)}, added)
    chunks = stored.read("p", [])
    assert chunks is not None
    assert b"".join(chunks) == (wanted + 2).astype(np.float16).tobytes()


def test_a_tensor_that_cannot_be_cut_so(tmp_path: Path) -> None:
    save_file({"w": WHOLE}, tmp_path / "f")
    for taken, shape in ((Taken("w", ((0, 1),), 7), (2, 5)), (Taken("w"), (4, 5)), (Taken("w", ((0, 1),), 3), (5, 5))):
        stored = StoredWeights(model(shape, FLOAT32), {}, {"p": Tensor(tmp_path / "f", "x", taken)})
        with pytest.raises(SourceError, match=r"tensor 'w' of .* has shape \[12, 5\]; parameter 'p' has"):
            stored.read("p", [])
