"""Live pipelines, as far as they tell of themselves without MindSpore: settings on their cells, configurations, types.

A document stands for what Python holds; what it tells becomes objects that have just that.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attnfuse import calls
from attnfuse.errors import SourceError, UsageError
from attnfuse.live.given import given_policy
from attnfuse.live.plans import plan_live, write_others
from attnfuse.live.settings import live_rules
from attnfuse.policy import Policy, SiteQuery
from attnfuse.preflight import check_components, check_policy, types_of
from attnfuse.targets import Target
from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_TEXT_ENCODER
from tests.support.small_models.videos import WAN
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_json

FILE = "live.json"
_PATHS = ("down_blocks.0.attn1", "down_blocks.0.attn2", "down_blocks.1.attn1", "mid_block.attn1")


class _Type:
    """As MindSpore's types print themselves."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


class _Cell:
    def __init__(self, cast: object, flash: object) -> None:
        self.fa_force_dtype = _Type(cast) if isinstance(cast, str) else cast
        self._enable_flash_sdp = flash


class _Parameter:
    def __init__(self, dtype: object) -> None:
        self.dtype, self.size = dtype, 8


class _Model:
    def __init__(self, told: Mapping[str, Any]) -> None:
        self.config = told.get("config", {})
        self._told = told

    def to_json_string(self) -> str:
        return json.dumps(self.config)

    def get_parameters(self) -> list[_Parameter]:
        return [_Parameter(one) for one in _list(self._told.get("dtypes"))]

    def construct(self) -> None: ...

    def cells_and_names(self) -> Iterator[tuple[str, object]]:
        yield "", self
        cells = self._told.get("cells")
        for path, setting in cells.items() if isinstance(cells, Mapping) else ():
            yield path, _Cell(*[*_list(setting), None, True][:2])


class _Other:
    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told
        if "model_max_length" in told:
            self.model_max_length = told["model_max_length"]

    def to_json_string(self) -> str:
        return json.dumps(self._told)


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _class(name: object, base: type) -> type:
    """A class of that name, as long as Python has such."""
    text = name if isinstance(name, str) and name.isidentifier() else "Unnamed"
    return type(text, (base,), {"__module__": "mindone.diffusers.models"})


def _seed(class_name: str, models: Mapping[str, Any], **options: Any) -> bytes:
    told = {
        name: {
            "class": config.get("_class_name") or config["architectures"][0],
            "config": config,
            "dtypes": ["Float16", "Float32"],
            "cells": {path: ["BFloat16" if at else "Float16", at != 2] for at, path in enumerate(_PATHS)},
            "noted": dict.fromkeys(calls.METHODS) if "architectures" in config else {},
        }
        for name, config in models.items()
    }
    others = {"scheduler": {"_class_name": "DDIMScheduler", "timesteps": [1]}, "tokenizer": {"model_max_length": 77}}
    given: dict[str, Any] = {
        "policy": {"defaults": {"flash": True}, "rules": [{"match": "unet", "force_cast_dtype": None}]}
    }
    given |= {"force_cast_dtype": "bfloat16", "no_flash": ["vae"]}
    return json.dumps({"class": class_name, "models": told, "others": others, "options": options, **given}).encode()


@cache
def _seeds() -> tuple[Seed, ...]:
    sd = {"unet": SD21_UNET, "vae": SMALL_VAE, "text_encoder": XL_TEXT_ENCODER}
    return (
        Seed("Stable Diffusion", {FILE: _seed("StableDiffusionPipeline", sd, requires_safety_checker=False)}),
        Seed("Wan", {FILE: _seed("WanPipeline", {"transformer": WAN}, expand_timesteps=True)}),
    )


def _document(folder: Path) -> dict[str, Any]:
    """What the file tells; a file that tells nothing stands for no pipeline."""
    try:
        found = json.loads((folder / FILE).read_bytes()) if (folder / FILE).is_file() else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SourceError("there is no document.")
    return found


def _models(document: Mapping[str, Any]) -> dict[str, Any]:
    models = document.get("models")
    found = {}
    for name, told in models.items() if isinstance(models, Mapping) else ():
        if isinstance(told, Mapping) and name.isidentifier():
            found[name] = _class(told.get("class"), _Model)(told)
            noted = told.get("noted")
            for method, value in noted.items() if isinstance(noted, Mapping) else ():
                calls.note(found[name], method, value)
    return found


def _pipeline(document: Mapping[str, Any]) -> Any:
    others = document.get("others")
    parts = _models(document)
    for name, told in others.items() if isinstance(others, Mapping) else ():
        if isinstance(told, Mapping) and name.isidentifier():
            parts[name] = _class(told.get("_class_name"), _Other)(told)
            if "timesteps" in told:
                parts[name].timesteps = told["timesteps"]
    made = type(_class(document.get("class"), object).__name__, (), {"__module__": "mindone.diffusers.pipelines"})()
    made.components, made.config = parts, document.get("options")
    return made


def _rules(folder: Path) -> None:
    document = _document(folder)
    models = _models(document)
    policy = Policy(live_rules(models, "pipe."))
    for name in models:
        policy.decide(SiteQuery(name, name, "mid_block.attn1"))


def _given(folder: Path) -> None:
    document = _document(folder)
    no_flash = document.get("no_flash")
    if not isinstance(no_flash, str) and not (isinstance(no_flash, list) and all(isinstance(n, str) for n in no_flash)):
        raise UsageError("no_flash is a list of patterns.")  # a type checker's to find
    policy = document.get("policy")
    if not isinstance(policy, Mapping | list):
        raise UsageError("the policy is a mapping or a list.")
    given_policy(policy, document.get("force_cast_dtype"), no_flash)


def _plan(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        plan = plan_live(_pipeline(_document(folder)), Path(work), ShapeOptions(), (), None)
        write_others(plan, Path(work))
        rules = live_rules(plan.cells, plan.prefix)
        types = {one.name: types_of(one) for one in plan.plans}
        check_components(Target("lite", "ascend310p"), types)
        check_policy(Target("lite", "ascend310p"), Policy(rules), types)


KIND = Kind(
    "live",
    _seeds,
    {edit_json: 100},
    {"rules": _rules, "given": _given, "plan": _plan},
    ("attnfuse.live.settings", "attnfuse.live.given", "attnfuse.live.plans"),
    dear=("plan",),
)
