"""A user's session, in a process with MindSpore: `python -m tests.live.session FOLDER`, which gets `told.json`.

Builds a small pipeline, sets what a user would set, compiles, and tells what came of it: settings before and after,
reports, errors. Everything that needs MindSpore is done here once; `test_live.py` looks at the parts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindone.diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from mindone.transformers import CLIPTextModel

import attnfuse
from attnfuse.errors import AttnfuseError
from attnfuse.tracing.demo import TEXT_ENCODER
from attnfuse.tracing.patches import cpu_patches
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, write_model

UNET = {**SD21_UNET, "upcast_attention": False}


class CrossAttention(mindspore.nn.Cell):  # type: ignore[misc]
    """Attention whose keys and values are handed over in a tuple."""

    def construct(self, query, keys_and_values):  # type: ignore[no-untyped-def]
        key, value = keys_and_values
        scores = mindspore.mint.matmul(query, key.swapaxes(-1, -2)) * 0.25
        return mindspore.mint.matmul(mindspore.mint.nn.functional.softmax(scores, -1), value)


class Twins(mindspore.nn.Cell):  # type: ignore[misc]
    """Two projections whose weights have one name, as `unload_lora_weights` leaves them, and attention over both."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q = mindspore.mint.nn.Linear(8, 8, bias=False)
        self.to_k = mindspore.mint.nn.Linear(8, 8, bias=False)
        for layer, value in ((self.to_q, 0.25), (self.to_k, 0.5)):
            layer.weight.name = "base.weight"
            layer.weight.set_data(mindspore.Tensor(np.full((8, 8), value, np.float32)))

    def construct(self, states):  # type: ignore[no-untyped-def]
        scores = mindspore.mint.matmul(self.to_q(states), self.to_k(states).swapaxes(-1, -2))
        return mindspore.mint.matmul(mindspore.mint.nn.functional.softmax(scores, -1), states)


def state(pipe: Any) -> dict[str, Any]:
    """All that compiling must not change, of every cell and parameter, by identity or by value."""
    found: dict[str, Any] = {"mode": mindspore.get_context("mode")}
    for part in ("unet", "vae"):
        model = getattr(pipe, part)
        for path, cell in model.cells_and_names():
            for name, value in cell.__dict__.items():
                content = sorted(map(str, value.items())) if type(value) is dict else None
                found[f"{part}.{path}:{name}"] = (id(value), content)
        for parameter in model.get_parameters():
            values = hash(parameter.get_bytes())
            found[f"{part}:{parameter.name}"] = (id(parameter), parameter.requires_grad, str(parameter.dtype), values)
    return found


class Recorder:
    """A progress object of the user's own."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []
        self.most: tuple[int, int] = (0, 0)

    def stage(self, component: str, stage: str) -> None:
        self.stages.append((component, stage))

    def amount(self, done: int, total: int) -> None:
        self.most = max(self.most, (done, total))

    def worker(self, seconds: float, peak: int) -> None:
        pass


def error_of(action: Callable[[], Any]) -> list[str]:
    """Class and text of what is raised."""
    try:
        action()
    except AttnfuseError as error:
        return [type(error).__name__, str(error)]
    return []


def report_of(outcome: attnfuse.Outcome) -> Any:
    return json.loads(outcome.report.to_bytes())


def settings_on_the_whole(pipe: Any, folder: Path) -> list[Any]:
    """Reports of a text encoder, which has no setter of its own, after calls on the pipeline and narrower ones."""
    write_model(folder / "text", {**TEXT_ENCODER, "num_hidden_layers": 1})
    parts = {**pipe.components, "text_encoder": CLIPTextModel.from_pretrained(str(folder / "text"))}
    whole = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    whole.set_flash_attention_force_cast_dtype(mindspore.bfloat16)
    whole.unet.set_flash_attention_force_cast_dtype(None)
    whole.enable_flash_sdp(False)
    whole.unet.enable_flash_sdp(True)
    off = attnfuse.compile(whole, None, components=["text_encoder"], progress="never")
    whole.enable_flash_sdp(enabled=True)
    whole.vae.enable_flash_sdp(False)
    on = attnfuse.compile(whole, None, components=["text_encoder"], progress="never")
    no_cast = attnfuse.compile(whole.text_encoder, None, force_cast_dtype=None, progress="never")
    return [report_of(outcome) for outcome in (off, on, no_cast)]


def main(folder: Path) -> None:
    mindspore.set_device("CPU")
    write_model(folder / "unet", UNET)
    write_model(folder / "vae", SMALL_VAE)
    with cpu_patches():
        pipe = StableDiffusionPipeline(
            vae=AutoencoderKL.from_pretrained(str(folder / "vae")),
            text_encoder=None,
            tokenizer=None,
            unet=UNet2DConditionModel.from_pretrained(str(folder / "unet")),
            scheduler=DDIMScheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    told: dict[str, Any] = {}

    # As mindone's guide has it: the whole pipeline, then a component, then a component's switch.
    pipe.set_flash_attention_force_cast_dtype(mindspore.bfloat16)
    pipe.unet.set_flash_attention_force_cast_dtype(None)
    pipe.enable_flash_sdp(False)
    pipe.vae.enable_flash_sdp(True)
    pipe.vae.encoder.set_train(True)
    pipe.unet.conv_in.weight.requires_grad = False
    before = state(pipe)
    recorder = Recorder()
    outcome = attnfuse.compile(pipe, folder / "first", runtime="lite", progress=recorder)
    told["unchanged"] = state(pipe) == before
    told["changed"] = [name for name, value in state(pipe).items() if before.get(name) != value][:5]
    told["first"] = report_of(outcome)
    told["files"] = dict(outcome.files)
    told["html"] = outcome._repr_html_()
    told["stages"] = recorder.stages
    told["amount"] = recorder.most

    # The same calls in another order.
    pipe.unet.set_flash_attention_force_cast_dtype(None)
    pipe.set_flash_attention_force_cast_dtype(mindspore.bfloat16)
    pipe.vae.enable_flash_sdp(True)
    pipe.enable_flash_sdp(False)
    pipe.unet.enable_flash_sdp(True)
    pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.enable_flash_sdp(False)
    told["second"] = report_of(attnfuse.compile(pipe, None, components=["unet"], runtime="mindspore", progress="never"))

    # A single model, with a policy and keywords after what is set on it.
    pipe.vae.set_flash_attention_force_cast_dtype(None)
    pipe.vae.enable_flash_sdp(False)
    rules: list[dict[str, Any]] = [
        {"match": "vae", "flash": True},
        {"match": "vae.encoder", "force_cast_dtype": "float16"},
    ]
    kept = attnfuse.compile(pipe.vae, None, policy=rules, components=["vae_decoder", "vae_encoder"], progress="never")
    told["single"] = report_of(kept)

    # The call of a cell that no plan knows, and what cannot be done.
    attention = pipe.vae.decoder.mid_block.attentions[0]
    attention.enable_flash_sdp(True)
    width = SMALL_VAE["block_out_channels"][-1]
    called = attnfuse.compile(
        attention,
        folder / "call",
        inputs=[np.zeros((1, width, 4, 4), np.float32)],
        force_cast_dtype="float16",
        runtime="mindspore",
        require=["fused==1"],
        verify="static",
        progress="never",
    )
    told["call"] = report_of(called)
    call = [np.zeros((1, width, 4, 4), np.float32)]
    before = state(pipe)
    tuned = attnfuse.tune(attention, budget=1e-2, inputs=call, runtime="mindspore", progress="never")
    told["tuned"] = [tuned.document, state(pipe) == before]
    by_it = attnfuse.compile(attention, None, inputs=call, policy=tuned.policy, runtime="mindspore", progress="never")
    told["by what was tuned"] = report_of(by_it)
    keys = (np.zeros((2, 5, 8), np.float16),) * 2
    attnfuse.compile(
        CrossAttention(),
        folder / "tuple",
        inputs=[np.zeros((2, 4, 8), np.float16), keys],
        require=["fused==1"],
        runtime="mindspore",
        progress="never",
    )
    twins = Twins()
    states = np.zeros((2, 4, 8), np.float32)
    attnfuse.compile(twins, folder / "twins", inputs=[states], runtime="mindspore", progress="never")
    told["twins"] = [parameter.name for parameter in twins.get_parameters()]
    told["verification"] = called.verification
    told["errors"] = {
        "no cell": error_of(lambda: attnfuse.compile(3, None)),
        "unmet": error_of(
            lambda: attnfuse.compile(pipe.vae, folder / "no", components=["vae_decoder"], require=["kept==7"])
        ),
        "bad inputs": error_of(lambda: attnfuse.compile(attention, None, inputs=["text"])),
        "bad tuple": error_of(lambda: attnfuse.compile(attention, None, inputs=[(np.zeros(1, np.float32), {})])),
        "empty tuple": error_of(lambda: attnfuse.compile(attention, None, inputs=[()])),
        "wrong inputs": error_of(lambda: attnfuse.compile(attention, None, inputs=[np.zeros((1, 7), np.float32)])),
        "unknown component": error_of(lambda: attnfuse.compile(pipe, None, components=["uned"])),
        "absent component": error_of(lambda: attnfuse.compile(pipe, None, components=["text_encoder"])),
        "unknown class": error_of(lambda: attnfuse.compile(attention, None)),
    }
    told["whole"] = settings_on_the_whole(pipe, folder)
    told["errors"]["no such type"] = error_of(
        lambda: attnfuse.compile(pipe.vae.to(mindspore.bfloat16), folder / "no", soc="ascend310p")
    )
    told["litter"] = sorted(path.name for path in Path.cwd().iterdir())
    told["mode"] = mindspore.get_context("mode")
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
