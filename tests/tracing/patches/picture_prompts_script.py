"""Run in a subprocess: a UNet with an IP-Adapter, as mindone loads it, and as attnfuse builds and traces it.

Prints, as its last line, for each kind of adapter that is named what differs, as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from safetensors.numpy import load_file, save_file

from attnfuse.errors import TraceError
from attnfuse.live.ip_adapter import held_adapter
from attnfuse.tracing.build import build_skeleton
from attnfuse.tracing.checkpoint import read_values
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.ip_adapter import read_ip_adapter
from attnfuse.tracing.ip_adapter_weights import give_ip_adapter
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.patches import tracing_patches
from attnfuse.tracing.plan import plan_all
from tests.support.checkpoints import SD21_UNET, write_model
from tests.support.demo_loops import kernels
from tests.support.ip_adapters import write_ip_adapter

UNET = {**SD21_UNET, "upcast_attention": False}


def _plan(folder: Path, file: Path) -> ComponentPlan:
    terms = Terms(ip_adapter=read_ip_adapter(str(file)))
    (plan,) = plan_all(folder, "float32", ShapeOptions(), ["unet"], terms=terms).plans
    return plan


def _tensors(file: Path) -> dict[str, dict[str, Any]]:
    state: dict[str, dict[str, Any]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in load_file(file).items():
        part, _, rest = key.partition(".")
        state[part][rest] = mindspore.Parameter(mindspore.Tensor(value.astype(np.float32)), name=rest)
    return state


def _called(unet: Any, given: Mapping[str, Any]) -> Any:
    return unet(given["sample"], given["time"], given["states"], added_cond_kwargs=given["added"])[0].asnumpy()


def _compared(folder: Path, file: Path) -> dict[str, Any]:
    from mindone.diffusers import UNet2DConditionModel

    plan = _plan(folder, file)
    records = give_ip_adapter(build_skeleton(plan), plan)
    with kernels():
        unet = UNet2DConditionModel.from_pretrained(str(folder / "unet"), mindspore_dtype=mindspore.float32)
        unet._load_ip_adapter_weights([_tensors(file)])
        unet.set_train(False)
        loaded = {path: value for path, value in unet.parameters_and_names() if path in records}
        differing = [
            name
            for name, record in records.items()
            if name not in loaded or not np.array_equal(loaded[name].asnumpy(), read_values(record).astype(np.float32))
        ]
        for processor in unet.attn_processors.values():
            if hasattr(processor, "to_k_ip"):
                processor.scale = [0.5]
        held = held_adapter({"unet": unet})
        assert held is not None
        random = np.random.default_rng(1)
        shapes = {one.name: one.shape for one in plan.inputs}

        def drawn(name: str) -> Any:
            return mindspore.Tensor(random.standard_normal(shapes[name]).astype(np.float32))

        picture = drawn("image_embeds")
        given = {"sample": drawn("sample"), "time": mindspore.Tensor(7), "states": drawn("encoder_hidden_states")}
        own = _called(unet, {**given, "added": {"image_embeds": [picture]}})
        found = {}
        with tracing_patches(plan.patches):
            for scale in (0.0, 0.5):
                added = {"image_embeds": [picture], "ip_adapter_scale": mindspore.Tensor([scale], mindspore.float32)}
                found[scale] = _called(unet, {**given, "added": added})
            fixed = _called(unet, {**given, "added": {"image_embeds": [picture]}})
        apart = max(float(np.abs(one - own).max()) for one in (found[0.5], fixed))
    return {
        "parameters": len(records),
        "differing": differing,
        "apart": apart / float(np.abs(own).max()),
        "effect": float(np.abs(found[0.0] - own).max()),
        "live": [held.takes, held.scale],
    }


def _refused(plan: ComponentPlan, file: Path) -> str:
    plan = replace(plan, ip_adapter=file)
    try:
        give_ip_adapter(build_skeleton(plan), plan)
    except TraceError as error:
        return str(error)
    return ""


def main(kinds: Sequence[str]) -> None:
    """Each kind of adapter, then files of other UNets than the plain one's."""
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "in"
        write_model(folder / "unet", UNET)
        index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
        write_json(folder / "model_index.json", index)
        for kind in kinds:
            told[kind] = _compared(folder, write_ip_adapter(Path(work) / f"{kind}.safetensors", UNET, kind, "float32"))
        if "plain" in kinds:
            told["plain"] |= _others(folder, Path(work))
    sys.stdout.write(json.dumps(told) + "\n")


def _others(folder: Path, work: Path) -> dict[str, str]:
    """What is said of adapters of other UNets."""
    plan = _plan(folder, work / "plain.safetensors")
    file = work / "other.safetensors"
    tensors = load_file(work / "plain.safetensors")
    last = max(int(key.split(".")[1]) for key in tensors if key.startswith("ip_adapter."))
    more = {key.replace(f".{last}.", f".{last + 2}."): value for key, value in tensors.items() if f".{last}." in key}
    others = {
        "short": {key: value for key, value in tensors.items() if f".{last}." not in key},
        "long": {**tensors, **more},
        "shape": {**tensors, "ip_adapter.1.to_k_ip.weight": np.zeros((65, 64), np.float32)},
    }
    found = {}
    for name, content in others.items():
        save_file(content, file)
        found[name] = _refused(plan, file)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
