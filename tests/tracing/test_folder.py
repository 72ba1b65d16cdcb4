"""What a pipeline's folder says of itself, where that is damaged or means harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnfuse.errors import SourceError
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.folder import read_pipeline, sibling_of


def written(folder: Path, file: str, content: dict[str, Any]) -> Path:
    (folder / file).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "..", "", "a/b", "a\0b", "a" * 256, "\ud800"])
def test_a_part_has_the_name_of_a_folder(tmp_path: Path, name: str) -> None:
    written(tmp_path, "model_index.json", {name: ["diffusers", "UNet2DConditionModel"]})
    with pytest.raises(SourceError, match=r"model_index\.json has a part '.*, and no folder beside it can be called"):
        read_pipeline(tmp_path)


@pytest.mark.parametrize("library", ["../elsewhere", "a" * 253, "a\0b"])
def test_code_of_its_own_lies_in_the_folder(tmp_path: Path, library: str) -> None:
    (tmp_path.parent / "elsewhere.py").touch()
    written(tmp_path, "model_index.json", {"unet": [library, "Own"]})
    assert read_pipeline(tmp_path).own_code_of("unet") == ""
    (tmp_path / "mine.py").touch()
    written(tmp_path, "model_index.json", {"unet": ["mine", "Own"]})
    assert read_pipeline(tmp_path).own_code_of("unet") == "mine.py"


@pytest.mark.parametrize("architectures", [5, "CLIPTextModel", {"a": 1}])
def test_architectures_are_a_list(tmp_path: Path, architectures: object) -> None:
    written(tmp_path, "config.json", {"architectures": architectures})
    with pytest.raises(SourceError, match=r"config\.json: architectures is .*, and no list"):
        read_pipeline(tmp_path)


def test_several_models_of_a_kind_are_parts_of_their_own(tmp_path: Path) -> None:
    names = ("controlnet", "controlnet_1", "controlnet_2", "controlnet_4")
    for name, kind in zip(names, ("ControlNetModel", "ControlNetModel", "Other", "Beyond"), strict=True):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "config.json", {"_class_name": kind})
    write_json(
        tmp_path / "model_index.json",
        {"_class_name": "StableDiffusionControlNetPipeline", "controlnet": ["multi", "MultiControlNetModel"]},
    )
    found = read_pipeline(tmp_path)
    assert found.classes == {
        "controlnet": "ControlNetModel",
        "controlnet_1": "ControlNetModel",
        "controlnet_2": "Other",
    }
    assert set(found.libraries.values()) == {"diffusers"}
    assert found.folders["controlnet_2"] == tmp_path / "controlnet_2"
    assert sibling_of("controlnet_2") == "controlnet"
    assert sibling_of("text_encoder_2") == "text_encoder_2"
