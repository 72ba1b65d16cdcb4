"""LoRAs and textual inversions: read for a pipeline, laid onto its weights, and merged into them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from attnfuse.lora.fitting import fit, told
from attnfuse.lora.given import GivenLora, Lora, check_used, read_given
from attnfuse.lora.inversion import GivenInversion, Inversion, grow, with_tokens
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.low_rank import LowRank, merged, opened
from attnfuse.tracing.contract import StoredWeight
from tests.support.checkpoints import SD21_UNET
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_json
from tools.fuzz.tensor_files import edit_tensors, tensor_file

FILE = "lora.safetensors"
_PARTS = ("unet", "text_encoder", "text_encoder_2")
_MODULES = {"mid_block.attentions.0.proj_in": (4, 3), "down_blocks.0.resnets.0.conv1": (4, 2, 3, 3)}
_TABLE = "text_model.embeddings.token_embedding.weight"
_WEIGHTS = MappingProxyType(
    {
        f"{module}.weight": StoredWeight(f"{module}.weight", Path(), f"{module}.weight", "float16", shape)
        for module, shape in _MODULES.items()
    }
)
_ENCODER = {_TABLE: StoredWeight(_TABLE, Path(), _TABLE, "float16", (8, 6))}


@cache
def _seeds() -> tuple[Seed, ...]:
    kohya: dict[str, tuple[str, tuple[int, ...]]] = {}
    peft, diffusers = dict(kohya), dict(kohya)
    for module, (out, into, *rest) in _MODULES.items():
        up, down = (out, 2, *(1 for _ in rest)), (2, into, *rest)
        base = f"lora_unet_{module.replace('.', '_')}"
        kohya |= {f"{base}.lora_up.weight": ("F32", up), f"{base}.lora_down.weight": ("F32", down)}
        kohya[f"{base}.alpha"] = ("F32", ())
        peft |= {f"base_model.model.{module}.lora_B.weight": ("F16", up)}
        peft |= {f"base_model.model.{module}.lora_A.weight": ("F16", down)}
        diffusers |= {f"unet.{module}.lora.up.weight": ("BF16", up), f"unet.{module}.lora.down.weight": ("BF16", down)}
    settings = {"lora_alpha": 2, "alpha_pattern": {"mid_block.*": 4.0}, "use_rslora": True, "init_lora_weights": True}
    inside = {"lora_adapter_metadata": json.dumps({f"unet.{key}": value for key, value in settings.items()})}
    vocabulary = {f"t{at}": at for at in range(8)}
    tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": [{"id": 0, "content": "t0"}]}
    beside = {"tokenizer.json": json.dumps(tokenizer).encode()}
    beside["text_encoder/config.json"] = json.dumps({"vocab_size": 8}).encode()
    return (
        Seed("kohya", {FILE: tensor_file(kohya)}),
        Seed("PEFT", {FILE: tensor_file(peft), "adapter_config.json": json.dumps(settings).encode()}),
        Seed("diffusers", {FILE: tensor_file(diffusers, metadata=inside)}),
        Seed("inversion", {FILE: tensor_file({"emb_params": ("F32", (2, 6))}), **beside}),
        Seed("inversion of XL", {FILE: tensor_file({"clip_l": ("F16", (6,)), "clip_g": ("F16", (1, 5))}), **beside}),
    )


def _fitted(folder: Path) -> dict[str, tuple[LowRank, ...]]:
    found = read_given([GivenLora(folder / FILE, 0.5)], _PARTS)
    loras = [one for one in found if isinstance(one, Lora)]
    check_used(found, ["unet"])
    added = fit(loras, "unet", "UNet2DConditionModel", SD21_UNET, _WEIGHTS)
    told(loras, "unet", added)
    return added


def _merge(folder: Path) -> None:
    for name, ones in _fitted(folder).items():
        shape = _WEIGHTS[name].shape
        deltas = opened(ones, {})
        if all(delta.shape == shape for delta in deltas):
            merged(np.ones((shape[0], int(np.prod(shape[1:])))), deltas, 0, FLOAT16)


def _invert(folder: Path) -> None:
    found = read_given([GivenInversion(folder / FILE, None)], _PARTS)
    inversions = [one for one in found if isinstance(one, Inversion)]
    grow(inversions, "text_encoder", "CLIPTextModel", _ENCODER)
    path = folder / "tokenizer.json"
    if path.is_file():
        with_tokens({"tokenizer/tokenizer.json": path.read_bytes()}, inversions, folder)


KIND = Kind(
    "lora",
    _seeds,
    {edit_tensors: 70, edit_json: 10},
    {"fit": _fitted, "merge": _merge, "invert": _invert},
    ("attnfuse.lora.layers", "attnfuse.lora.fitting", "attnfuse.lora.inversion", "attnfuse.mindir.low_rank"),
)
