"""Pipelines of films, and Qwen-Image's, small, as folders that compile takes and a loop runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import write_json
from tests.support.film_models import FLOW, UNIPC, write_byte_tokenizer
from tests.support.loop_models import write_t5_tokenizer
from tests.support.recorder.table import RECORDINGS
from tests.support.small_models import Small, write_configs

_MARKS: Final = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
_WORDS: Final = {
    "vocab_size": 320,
    "max_position_embeddings": 512,
    **{name: 316 + number for number, name in enumerate(_MARKS)},
}
"""Of a text encoder that has a state for each of the tokenizers' tokens, none of which stands for a picture."""


def write_small(folder: Path, name: str, left_out: str = "") -> ShapeOptions:
    """Write the folder of a recorded pipeline, without weights and a part; the sizes that it is recorded with."""
    recording = RECORDINGS[name]
    models = {part: config for part, config in recording.models.items() if part != left_out}
    known = {key: value for key, value in _WORDS.items() if key in models["text_encoder"]}
    models["text_encoder"] = {**models["text_encoder"], **known}
    options = {
        key: value for key, value in recording.options.items() if left_out != "transformer_2" or key != "boundary_ratio"
    }
    write_configs(folder, Small(name.partition(" ")[0], models, recording.scheduler, recording.shapes, options))
    for part in ("scheduler", "tokenizer", "image_processor"):
        (folder / part).mkdir()
    scheduler = UNIPC if recording.scheduler == UNIPC["_class_name"] else FLOW
    write_json(folder / "scheduler/scheduler_config.json", scheduler)
    qwen = name.startswith("Qwen")
    (write_byte_tokenizer if qwen else write_t5_tokenizer)(folder / "tokenizer")
    processor = {"size": 80, "crop_size": 80, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    write_json(folder / "image_processor/preprocessor_config.json", processor)
    index = json.loads((folder / "model_index.json").read_text())
    parts = {"tokenizer": ["transformers", "PreTrainedTokenizerFast" if qwen else "T5TokenizerFast"]}
    write_json(folder / "model_index.json", {**index, **parts})
    return recording.shapes
