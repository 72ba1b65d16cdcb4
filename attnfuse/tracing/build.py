"""Builds a model without its weights and traces one of its methods to a MindIR model message.

Worker side: imports mindspore and mindone; of this room `contract` and `standins`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mindspore
import numpy as np
from mindspore import nn
from mindspore.common.api import _cell_graph_executor
from mindspore.nn.utils import no_init_parameters
from mindspore.train import mind_ir_pb2

from attnfuse.tracing.contract import ComponentPlan, TensorSpec
from attnfuse.tracing.standins import cpu_stand_ins


def build_skeleton(plan: ComponentPlan) -> Any:
    """Build the plan's model as `from_pretrained(mindspore_dtype=...)` leaves it, but with no values.

    The steps, and the types parameters end in, are those of mindone's two loaders (`ModelMixin.from_pretrained`
    of its diffusers, `PreTrainedModel.from_pretrained` of its transformers; no class we plan for is of those that
    the latter keeps partly in float32).
    """
    model_class = _find_class(plan)
    dtype = getattr(mindspore, plan.dtype)
    with no_init_parameters(), cpu_stand_ins():
        if plan.library == "diffusers":
            model = model_class.from_config(model_class.load_config(str(plan.folder)))
            model = model.to(dtype)
        else:
            config = model_class.config_class.from_pretrained(str(plan.folder))
            config.dtype = plan.dtype
            model = model_class(config)
            model.tie_weights()
            model = model.to(dtype)
    model.set_train(False)
    return model


def _find_class(plan: ComponentPlan) -> Any:
    if plan.library == "diffusers":
        from mindone import diffusers as library
    else:
        from mindone import transformers as library
    return getattr(library, plan.class_name)


class _Entry(nn.Cell):  # type: ignore[misc]
    """A cell around a model whose `construct` is what the graph computes.

    The attribute has the pipeline's name for the model, which the graph's scopes then begin with;
    `auto_prefix=False` leaves it out of the parameters' names, which stay the model's own. MindSpore parses the
    source of `construct`: it must call its first parameter `self`, and stay this plain.
    """

    def __init__(self, attribute: str, model: Any) -> None:
        super().__init__(auto_prefix=False)
        setattr(self, attribute, model)
        self.set_train(False)

    def init_parameters_data(self, auto_parallel_mode: bool = False) -> dict[Any, Any]:
        """Called by the compiler to give parameters their initial values; a skeleton has none."""
        return {}


class _Call(_Entry):
    """Any cell with the inputs it is called with."""

    def construct(self, *inputs):  # type: ignore[no-untyped-def]
        return self.model(*inputs)


class _UNet(_Entry):
    output_names = ("sample",)

    def construct(self, sample, timestep, encoder_hidden_states):  # type: ignore[no-untyped-def]
        return self.unet(sample, timestep, encoder_hidden_states, return_dict=False)[0]


class _UNetXL(_Entry):
    output_names = ("sample",)

    def construct(self, sample, timestep, encoder_hidden_states, text_embeds, time_ids):  # type: ignore[no-untyped-def]
        added = {"text_embeds": text_embeds, "time_ids": time_ids}
        return self.unet(sample, timestep, encoder_hidden_states, added_cond_kwargs=added, return_dict=False)[0]


class _VaeDecoder(_Entry):
    output_names = ("image",)

    def construct(self, latents):  # type: ignore[no-untyped-def]
        return self.vae.decode(latents, return_dict=False)[0]


class _VaeEncoder(_Entry):
    output_names = ("moments",)

    def construct(self, image):  # type: ignore[no-untyped-def]
        return self.vae.encode(image, return_dict=False)[0]


class _TextEncoder(_Entry):
    output_names = ("last_hidden_state", "pooler_output")

    def construct(self, input_ids):  # type: ignore[no-untyped-def]
        outputs = self.text_encoder(input_ids, return_dict=False)
        return outputs[0], outputs[1]


class _TextEncoderXL(_Entry):
    # SDXL conditions on the last layer's input, and on what the whole encoder pools to.
    output_names = ("penultimate_hidden_state", "pooler_output")

    def construct(self, input_ids):  # type: ignore[no-untyped-def]
        outputs = self.text_encoder(input_ids, output_hidden_states=True, return_dict=False)
        return outputs[2][-2], outputs[1]


class _ProjectedTextEncoder(_Entry):
    output_names = ("last_hidden_state", "text_embeds")

    def construct(self, input_ids):  # type: ignore[no-untyped-def]
        outputs = self.text_encoder(input_ids, return_dict=False)
        return outputs[1], outputs[0]


class _ProjectedTextEncoderXL(_Entry):
    output_names = ("penultimate_hidden_state", "text_embeds")

    def construct(self, input_ids):  # type: ignore[no-untyped-def]
        outputs = self.text_encoder(input_ids, output_hidden_states=True, return_dict=False)
        return outputs[2][-2], outputs[0]


_ENTRIES: Mapping[str, type[Any]] = {
    "unet": _UNet,
    "unet_xl": _UNetXL,
    "vae_decoder": _VaeDecoder,
    "vae_encoder": _VaeEncoder,
    "text_encoder": _TextEncoder,
    "text_encoder_xl": _TextEncoderXL,
    "text_encoder_projected": _ProjectedTextEncoder,
    "text_encoder_projected_xl": _ProjectedTextEncoderXL,
}

#: Both text encoders of XL are scoped alike: their `construct` can name one attribute only.
_ATTRIBUTE = {"unet": "unet", "vae": "vae", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder"}


def trace(plan: ComponentPlan, model: Any) -> tuple[Any, tuple[str, ...]]:
    """Trace the plan's entry of `model`; return the MindIR ModelProto, without values, and the outputs' names."""
    cell = _ENTRIES[plan.entry](_ATTRIBUTE[plan.model], model)
    return _trace_cell(cell, plan.inputs), type(cell).output_names


def trace_call(model: Any, specs: Sequence[TensorSpec]) -> Any:
    """Trace a call of any cell with tensors of these types; return the MindIR ModelProto, without values."""
    return _trace_cell(_Call("model", model), specs)


def _trace_cell(cell: Any, specs: Sequence[TensorSpec]) -> Any:
    inputs = [
        mindspore.Tensor(np.zeros(spec.shape, np.float32), dtype=getattr(mindspore, spec.dtype)) for spec in specs
    ]
    # What mindspore.export does, up to the point where it would want values for the parameters.
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    graph_id, _ = _cell_graph_executor.compile(cell, *inputs, phase="export.mindir", do_convert=False)
    data = _cell_graph_executor._get_func_graph_proto(cell, graph_id, "mind_ir")
    proto = mind_ir_pb2.ModelProto()
    proto.ParseFromString(data)
    return proto
