"""Arrays of every type of a graph, as bytes and back."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.dispatch import packed, unpacked
from attnfuse.mindir import dtypes


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 2), (3,), (2, 3)])
def test_arrays_come_back_as_they_were(dtype: dtypes.DType, shape: tuple[int, ...]) -> None:
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype.numpy)
    turned = values.T
    found = unpacked(packed({"some name": values, "turned": turned}))
    for name, wanted in {"some name": values, "turned": turned}.items():
        assert (found[name].dtype, found[name].shape) == (wanted.dtype, wanted.shape)
        assert found[name].tobytes() == wanted.tobytes()


def test_what_is_no_number_stays_what_it_is() -> None:
    values = np.array([np.nan, -np.inf, -0.0, 1.0], dtypes.BFLOAT16.numpy)
    assert unpacked(packed({"x": values}))["x"].tobytes() == values.tobytes()
    assert unpacked(packed({})) == {}


def test_other_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="what holds arrays is damaged"):
        unpacked(b"no arrays")
