"""Pipelines before they are traced: `model_index.json`, the configurations of parts, and the files of tokenizers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attnfuse.preflight import check_components, types_of
from attnfuse.report.parts import parts_document, render_parts
from attnfuse.sources import survey_source
from attnfuse.targets import Target
from attnfuse.tracing.carried import carried
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import SCHEDULER
from attnfuse.tracing.tokenizer_files import CLIP_CLASSES, NotMadeError, make_tokenizer
from tests.support.checkpoints import class_of
from tests.support.small_models import SMALL
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_json

INDEX = "model_index.json"
_CHOSEN = ("sd3", "flux", "sd_controlnet", "sdxl_controlnet", "pixart_alpha", "wan", "cogvideox", "hunyuan_dit")
_TOKENS = {
    f"{letter}{end}": at for at, (letter, end) in enumerate((one, end) for one in "abcdef" for end in ("", "</w>"))
}
TOKENIZER: Mapping[str, bytes] = {
    "vocab.json": json.dumps({"<|startoftext|>": 12, "<|endoftext|>": 13, **_TOKENS, "ab": 14}).encode(),
    "merges.txt": b"#version: 0.2\na b\n",
    "tokenizer_config.json": json.dumps(
        {
            "model_max_length": 16,
            "pad_token": "<|endoftext|>",
            "added_tokens_decoder": {"13": {"content": "<|endoftext|>"}},
        }
    ).encode(),
    "special_tokens_map.json": json.dumps({"bos_token": {"content": "<|startoftext|>"}}).encode(),
}


def configs_of(
    folder: str, class_name: str, models: Mapping[str, Mapping[str, Any]], scheduler: str, options: Mapping[str, Any]
) -> dict[str, bytes]:
    """The configurations of a pipeline by their paths below that folder, "" for none."""
    index: dict[str, Any] = {"_class_name": class_name, "scheduler": ["diffusers", scheduler], **options}
    within = f"{folder}/" if folder else ""
    files = {}
    for name, config in models.items():
        index[name] = ["diffusers" if "_class_name" in config else "transformers", class_of(dict(config))]
        files[f"{within}{name}/config.json"] = json.dumps(config).encode()
    own = {**SCHEDULER, "_class_name": scheduler}
    files[f"{within}scheduler/scheduler_config.json"] = json.dumps(own).encode()
    files[f"{within}{INDEX}"] = json.dumps(index).encode()
    return files


@cache
def _seeds() -> tuple[Seed, ...]:
    seeds = []
    for name in _CHOSEN:
        small = SMALL[name]
        files = configs_of("", small.pipeline, small.models, small.scheduler, small.options)
        if "text_encoder" in small.models:
            index = {**json.loads(files[INDEX]), "tokenizer": ["transformers", CLIP_CLASSES[0]]}
            files[INDEX] = json.dumps(index).encode()
            files |= {f"tokenizer/{file}": content for file, content in TOKENIZER.items()}
        seeds.append(Seed(name, files))
    single = {"config.json": json.dumps(SMALL["sd3"].models["transformer"]).encode()}
    return (*seeds, Seed("a single model", single))


def _survey(folder: Path) -> None:
    parts = survey_source(str(folder), None, ShapeOptions())
    json.dumps(parts_document(parts), ensure_ascii=False, allow_nan=True)
    render_parts(parts)
    components = {plan.name: types_of(plan) for part in parts for plan in part.plans}
    check_components(Target("lite", "ascend310p"), components)


def _any_batch(folder: Path) -> None:
    survey_source(str(folder), "float16", ShapeOptions(dynamic="batch"))


def _make(folder: Path, class_name: str) -> bytes:
    """Tokenizers that are made in this process: others take seconds."""
    if class_name not in CLIP_CLASSES:
        raise NotMadeError("it is of another class")
    return make_tokenizer(folder, class_name)


def _carry(folder: Path) -> None:
    found = carried(folder, {"height": 64, "width": 64, "batch": 1, "rows": 2}, make=_make)
    assert not any(name.startswith("/") or ".." in name for name in found.files)
    json.dumps(found.warnings)


KIND = Kind(
    "pipeline",
    _seeds,
    {edit_json: 60},
    {"survey": _survey, "any batch": _any_batch, "carry": _carry},
    (
        *("attnfuse.tracing.folder", "attnfuse.tracing.plan", "attnfuse.tracing.parts", "attnfuse.tracing.agreement"),
        *("attnfuse.tracing.config_check", "attnfuse.tracing.carried", "attnfuse.tracing.tokenizer_files"),
    ),
    dear=("any batch",),
)
