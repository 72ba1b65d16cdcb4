"""Holds a config.json to the class that is built from it: keys that it does not take, and a version beyond mindone's.

mindone builds the model without such a key, as diffusers does, and says nothing where anybody sees it: the model may be
another than the one that was trained. What is known to be harmless is listed here, each with its reason.

Imports `class_options`, `contract` and `folder` of this package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from attnfuse.tracing.class_options import Options, counterpart, options_of, options_of_type
from attnfuse.tracing.contract import Library
from attnfuse.tracing.folder import Config

#: Keys that no class takes and that change no model, with why.
HARMLESS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "decay",
            "inv_gamma",
            "min_decay",
            "optimization_step",
            "power",
            "update_after_step",
            "use_ema_warmup",
        ),
        "state of the moving average that the weights were trained with (diffusers' EMAModel saves it there)",
    ),
    "auto_map": "where transformers finds classes of the repository's own",
    "dropout": "of CLIP's first checkpoints: it never had any, and nothing is dropped outside of training",
    "gradient_checkpointing": "of training",
    "max_new_tokens": "of the language model of AudioLDM2: the pipeline reads it, and so does the plan",
    "model_type": "the name of the class",
    "n_positions": "of T5, which has relative positions: no model reads it",
    "output_past": "of the first transformers, whose models have returned it since by another option",
    "quantization_config": "reported separately: see `quantisation`",
    "torch_dtype": "the type it was saved in: see `stored_types`",
    "transformers_version": "who wrote it",
    "use_cache": "of generation",
    "vision_config.vocab_size": "of models that see pictures, which have no words (Mistral 3's own default)",
}

#: How a version begins.
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9})*")

_VERSION_KEYS: Mapping[Library, str] = {"diffusers": "_diffusers_version", "transformers": "transformers_version"}


def check_config(
    class_name: str, library: Library, config: Config, written_by: object = None, *, file: str = "config.json"
) -> str:
    """What is to be told of a configuration, or nothing.

    `written_by` is the version of a pipeline, for a configuration that tells none of its own. A class whose source is
    not found is not judged.
    """
    known = options_of(class_name, library)
    ours = counterpart(library)
    if known is None or ours is None:
        return ""
    theirs = config.get(_VERSION_KEYS[library])
    theirs = written_by if theirs is None else theirs
    version = theirs if isinstance(theirs, str) and _VERSION.match(theirs) else None
    odd = theirs is not None and version is None
    message = f"written by {library} {version}; " if version is not None else ""
    if odd:
        message = f"its {_VERSION_KEYS[library]} is {json.dumps(theirs)}, which is no version; "
    keys = sorted(_unknown(known, config))
    if keys:
        return (
            f"{file} has keys that mindone's {class_name} does not take, so that the model is built without them:"
            f" {', '.join(keys)} ({message}mindone's counterpart is {ours})"
        )
    if odd:
        return (
            f"{file} says {_VERSION_KEYS[library]} is {json.dumps(theirs)}, which is no version: whether {library} that"
            f" wrote it is newer than mindone's counterpart ({ours}) is not known"
        )
    if version is not None and _release(version) > _release(ours):
        return (
            f"{file} was written by {library} {theirs}, and mindone's counterpart is {ours}: what {class_name} does"
            " otherwise since is not in the model"
        )
    return ""


def _unknown(known: Options, config: Config, path: str = "") -> Iterator[str]:
    """The keys that are not taken, those of nested configurations behind a dot."""
    if known.base and isinstance(config.get(known.base), Mapping):
        yield from _unknown(known, config[known.base], f"{path}{known.base}.")
        return
    # Options of a part may stand beside it, as older configurations have them.
    names = known.names.union(*(part.names for part in known.parts.values()))
    for key, value in config.items():
        if key.startswith("_") or key in HARMLESS or f"{path}{key}" in HARMLESS:
            continue
        if key not in names and key not in known.parts:
            yield f"{path}{key}"
        elif isinstance(value, Mapping) and (part := _part(known, key, value)) is not None:
            yield from _unknown(part, value, f"{path}{key}.")


def _part(known: Options, key: str, value: Mapping[str, Any]) -> Options | None:
    """What a nested configuration takes, if it is one of a class that is known."""
    if key in known.parts:
        return known.parts[key]
    return options_of_type(str(value.get("model_type"))) if key.endswith("_config") else None


def _release(version: str) -> tuple[int, ...]:
    """`(0, 36, 0)` of "0.36.0.dev0": a version under development counts as the one it will be."""
    found = _VERSION.match(version)
    numbers = [int(number) for number in found[0].split(".")] if found is not None else []
    return (*numbers, *[0] * (3 - len(numbers)))
