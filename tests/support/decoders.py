"""Run in a subprocess: mindone's own decoders and their patches on the same weights and text, in PyNative mode.

`python -m tests.support.decoders` prints, as JSON, the greatest difference of every state by the model's class. What
has no CPU kernel is computed with numpy, the same for both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from math import erf
from typing import Any
from unittest import mock

import mindone.transformers
import mindspore
import numpy as np
from mindone.diffusers import AudioLDM2ProjectionModel
from mindone.diffusers.pipelines.kandinsky import MultilingualCLIP
from mindspore import mint

from attnfuse.tracing.patches import cpu_patches, tracing_patches
from tests.support.small_models import SMALL, Config
from tools.matrix.alone import ALONE

TOKENS = 9
LENGTHS = (9, 6, 1)
"""Of the texts in the batch; the rest is padding."""


def _embedding(layer: Any, ids: Any) -> Any:
    return mindspore.Tensor(layer.weight.asnumpy()[ids.asnumpy()])


def _gelu(values: Any, approximate: str = "none") -> Any:
    x = values.asnumpy().astype(np.float64)
    if approximate == "tanh":
        phi = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    else:
        phi = np.vectorize(erf)(x / np.sqrt(2))
    return mindspore.Tensor((x * 0.5 * (1 + phi)).astype(np.float32))


def _layer_norm(layer: Any, values: Any) -> Any:
    x = values.asnumpy().astype(np.float64)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return mindspore.Tensor((x * layer.weight.asnumpy() + layer.bias.asnumpy()).astype(np.float32))


def _dropout(values: Any, p: float = 0.5, training: bool = True) -> Any:
    assert not training
    return values


def _expand(values: Any, *size: Any) -> Any:
    return values.broadcast_to(size[0] if len(size) == 1 else size)


def _cumsum(values: Any, dim: int) -> Any:
    return mindspore.Tensor(np.cumsum(values.asnumpy(), dim))


def _fill_in_place(values: Any, mask: Any, value: Any) -> Any:
    before = values.asnumpy()
    values.assign_value(mindspore.Tensor(np.where(mask.asnumpy(), value, before).astype(before.dtype)))
    return values


def _clone(values: Any) -> Any:
    return mindspore.Tensor(values.asnumpy())


def _tril(values: Any, diagonal: int = 0) -> Any:
    return mindspore.Tensor(np.tril(values.asnumpy(), diagonal))


def _patches(layer: Any, pixels: Any) -> Any:
    """A convolution of patches that lie side by side."""
    x, size = pixels.asnumpy(), layer.weight.shape[-1]
    rows, channels, height, width = x.shape
    x = x.reshape(rows, channels, height // size, size, width // size, size)
    x = np.einsum("bchpwq,ocpq->bohw", x, layer.weight.asnumpy())
    return mindspore.Tensor(np.ascontiguousarray(x + layer.bias.asnumpy()[:, None, None]))


def _built(config: Config) -> Any:
    name = config["architectures"][0]
    model_class = MultilingualCLIP if name == "MultilingualCLIP" else getattr(mindone.transformers, name)
    options = {name: value for name, value in config.items() if name not in ("architectures", "model_type")}
    model = model_class(model_class.config_class(**options))
    model.set_train(False)
    random = np.random.default_rng(0)
    for parameter in model.get_parameters():
        parameter.set_data(mindspore.Tensor(random.normal(0, 0.3, parameter.shape).astype(np.float32)))
    return model


def _stood_in(model: Any, *inputs: Any) -> list[Any]:
    last, states = model(*inputs, output_hidden_states=True)
    return [last, *states]


def _differences(
    config: Config,
    inputs: list[Any],
    call: Callable[..., list[Any]],
    stood_in_call: Callable[..., list[Any]] = _stood_in,
    patch: str = "text_decoder",
) -> list[float]:
    with ExitStack() as stack:
        stack.enter_context(cpu_patches())
        stack.enter_context(tracing_patches(["two_axes"]))
        for owner, name, function in (
            (mint.nn.Conv2d, "construct", _patches),
            (mint.nn.Embedding, "construct", _embedding),
            (mint.nn.LayerNorm, "construct", _layer_norm),
            (mint.nn.functional, "gelu", _gelu),
            (mint.nn.functional, "dropout", _dropout),
            (mint, "cumsum", _cumsum),
            (mint, "tril", _tril),
            (mindspore.Tensor, "clone", _clone),
            (mindspore.Tensor, "cumsum", _cumsum),
            (mindspore.Tensor, "expand", _expand),
            (mindspore.Tensor, "masked_fill_", _fill_in_place),
        ):
            stack.enter_context(mock.patch.object(owner, name, function))
        model = _built(config)
        own = call(model, *inputs)
        with tracing_patches([patch]):
            stood_in = stood_in_call(model, *inputs)
    return [float(np.abs(a.asnumpy() - b.asnumpy()).max()) for a, b in zip(own, stood_in, strict=False)]


def _all_states(model: Any, *inputs: Any) -> list[Any]:
    last, states = model(*inputs, output_hidden_states=True, use_cache=False, return_dict=False)
    return [last, *states]


def _records_states(model: Any, ids: Any, mask: Any) -> list[Any]:
    result = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
    return [result.hidden_states[-1], *result.hidden_states]


def _given(name: str, inputs: list[Any]) -> list[float]:
    """Of a model that no pipeline has."""
    alone = ALONE[name]
    fixed = {key: value for key, value in alone.fixed.items() if key != "return_dict"}
    return _differences(
        alone.config,
        inputs,
        lambda model, *inputs: [model(*inputs, **fixed)[i] for i in range(len(alone.outputs))],
        lambda model, *inputs: list(model(*inputs)),
        "given_models",
    )


def _projection() -> list[float]:
    """AudioLDM2's, which is no text encoder: of a vector and a text, side by side."""
    random = np.random.default_rng(2)
    states = [mindspore.Tensor(random.normal(size=(2, n, w)).astype(np.float32)) for n, w in ((1, 16), (9, 20))]
    seen = [mindspore.Tensor(np.array(rows), mindspore.int64) for rows in ([[1], [1]], [[1] * 9, [1] * 4 + [0] * 5])]
    config = SMALL["audio_ldm_2"].models["projection_model"]
    with cpu_patches():
        model = AudioLDM2ProjectionModel.from_config(config)
    for parameter in model.get_parameters():
        parameter.set_data(mindspore.Tensor(random.normal(size=parameter.shape).astype(np.float32)))
    own = model(*states, *seen)
    with tracing_patches(["plain_results"]):
        stood_in = model(*states, *seen)
    pairs = zip((own.hidden_states, own.attention_mask), stood_in, strict=True)
    return [float(np.abs(a.asnumpy() - b.asnumpy()).max()) for a, b in pairs]


def main() -> None:
    """Compare every class that is stood in for."""
    mindspore.set_device("CPU")
    ids = mindspore.Tensor(np.random.default_rng(1).integers(0, 60, (len(LENGTHS), TOKENS)), mindspore.int64)
    seen = np.arange(TOKENS) < np.array(LENGTHS)[:, None]
    mask = mindspore.Tensor(seen.astype(np.int64))
    added = np.where(np.tril(np.ones((TOKENS, TOKENS), bool)) & seen[:, None, None], 0, np.finfo(np.float32).min)
    added = mindspore.Tensor(added.astype(np.float32))
    pixels = mindspore.Tensor(np.random.default_rng(3).normal(size=(2, 3, 24, 24)).astype(np.float32))
    gemma = SMALL["lumina_gemma"].models["text_encoder"]
    gemma_2 = SMALL["sana_gemma2"].models["text_encoder"]
    mistral_3 = SMALL["flux2_mistral"].models["text_encoder"]
    mistral_3 = {**mistral_3, "text_config": {**mistral_3["text_config"], "num_hidden_layers": 2}}
    sys.stdout.write(
        "\n"
        + json.dumps(
            {
                # mindone's has no states but the last.
                "LlamaModel": _differences(
                    SMALL["hunyuan_video"].models["text_encoder"],
                    [ids, mask],
                    lambda model, *inputs: [model(*inputs)[0]],
                ),
                "GlmModel": _differences(SMALL["cogview4_glm"].models["text_encoder"], [ids], _all_states),
                "GemmaModel": _differences(gemma, [ids, mask], _all_states),
                "Gemma2Model": _differences(gemma_2, [ids, mask], _all_states),
                "Qwen2_5_VLForConditionalGeneration": _differences(
                    SMALL["qwen_image_qwen"].models["text_encoder"], [ids, mask], _records_states
                ),
                "Mistral3ForConditionalGeneration": _differences(mistral_3, [ids, mask], _records_states),
                "MultilingualCLIP": _differences(
                    SMALL["kandinsky_text"].models["text_encoder"],
                    [ids, mask],
                    lambda model, *inputs: list(model(*inputs)),
                    lambda model, *inputs: list(model(*inputs)),
                    "plain_results",
                ),
                "AudioLDM2ProjectionModel": _projection(),
                "MistralModel": _given("mistral", [ids, mask]),
                "MistralModel, its mask made": _given("mistral", [ids, added]),
                "MistralModel, no mask": _given("mistral", [ids]),
                "Qwen3Model": _given("qwen3_4dmask", [ids, mask]),
                "Qwen3Model, its mask made": _given("qwen3_4dmask", [ids, added]),
                "ViTModel": _given("vit", [pixels]),
                "SiglipVisionModel": _differences(
                    {
                        **SMALL["flux_redux"].models["image_encoder"],
                        "image_size": 24,
                        "patch_size": 6,
                        "vision_use_head": False,
                    },
                    [pixels],
                    lambda model, pixels: [model(pixel_values=pixels).last_hidden_state],
                    lambda model, pixels: list(model(pixel_values=pixels)),
                    "unpooled",
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
