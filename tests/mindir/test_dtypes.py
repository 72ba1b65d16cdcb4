"""Element types are what ONNX, numpy and the tracer call so."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, DType
from attnfuse.tracing.contract import DTYPES


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_numbers_are_those_of_onnx(dtype: DType) -> None:
    assert helper.np_dtype_to_tensor_dtype(dtype.numpy) == dtype.wire
    assert dtypes.from_wire(dtype.wire) is dtype


@pytest.mark.parametrize("dtype", [*dtypes.ALL, *dtypes.FLOAT8], ids=str)
def test_every_name_leads_back(dtype: DType) -> None:
    assert dtypes.from_name(dtype.name) is dtype
    assert dtypes.from_safetensors(dtype.safetensors) is dtype
    assert dtype.numpy.name == dtype.name


@pytest.mark.parametrize(
    ("dtype", "largest", "roundoff"),
    [
        (FLOAT16, 65504.0, 2.0**-11),
        (BFLOAT16, (2 - 2.0**-7) * 2.0**127, 2.0**-8),
        (FLOAT32, (2 - 2.0**-23) * 2.0**127, 2.0**-24),
        (FLOAT64, (2 - 2.0**-52) * 2.0**1023, 2.0**-53),
    ],
)
def test_what_a_float_holds(dtype: DType, largest: float, roundoff: float) -> None:
    assert dtype.largest == largest
    assert dtype.unit_roundoff == roundoff


def test_what_is_traced_has_a_type() -> None:
    assert {dtypes.from_name(name).numpy for name in DTYPES} <= {dtype.numpy for dtype in dtypes.ALL}
    assert dtypes.of_array(np.zeros(2, BFLOAT16.numpy)) is BFLOAT16
