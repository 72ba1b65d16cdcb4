"""What a folder is opened with, and what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse_runtime import AttnfuseRuntimeError, Pipeline
from tests.support.compiled import toy


class Doubling:
    """A backend of one's own."""

    def load(self, component: Any) -> Any:
        return lambda inputs: [inputs["sample"] * 2, inputs["timestep"]]


def test_a_backend_of_ones_own(tmp_path: Path) -> None:
    pipeline = Pipeline.from_folder(str(toy(tmp_path)), Doubling())
    assert pipeline.names == ("toy",)
    found = pipeline["toy"](sample=np.ones((2, 4)), timestep=np.asarray([1]))
    assert next(iter(found.values()))[0, 0] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"backend": "gpu"}, "there is no backend 'gpu'"),
        ({"backend": "cpu", "devices": 0}, "the backend 'cpu' has no devices"),
        ({"backend": Doubling(), "devices": 0}, "chooses its devices"),
        ({"backend": "lite", "devices": {"unet": 0}}, "there is no component 'unet'"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(AttnfuseRuntimeError, match=r"^[^\n]*\.$") as raised:
        Pipeline.from_folder(toy(tmp_path), **arguments)
    assert said in str(raised.value)


def test_an_unknown_component(tmp_path: Path) -> None:
    with pytest.raises(AttnfuseRuntimeError, match=r"there is no component 'unet'; .* has toy"):
        Pipeline.from_folder(toy(tmp_path), "cpu")["unet"]


def test_lite_does_not_take_what_was_compiled_for_mindspore(tmp_path: Path) -> None:
    out = toy(tmp_path, runtime="mindspore")
    with pytest.raises(AttnfuseRuntimeError, match="was compiled with --runtime mindspore"):
        Pipeline.from_folder(out, "lite")
    assert Pipeline.from_folder(out, "cpu").names == ("toy",)
