"""What graphs have fixed that pipelines set at run time, for specs to name; read in mindone's pipelines and models."""

from __future__ import annotations

from attnfuse.tracing.specs.record import FixedSetting

ONE_CONTROLNET = FixedSetting(
    "controlnet",
    "one",
    "one ControlNet with one conditioning_scale, which is an input; lists are not supported: run each of several with"
    " a scale of its own, and sum the residuals",
)

GUESS_MODE = FixedSetting(
    "guess_mode",
    False,
    "not supported: outputs are those without it; with it the pipeline feeds the rows of the prompt alone, multiplies"
    " the residuals by logspace(-1, 0, n), one factor each, and gives the other rows zeros",
)

UNION_OF_ONE = FixedSetting(
    "control_mode",
    "one picture",
    "one picture of conditions, whose type is an input; of several each has a scale within the model, which would be "
    "another graph",
)

ADAPTER_SCALE = FixedSetting(
    "adapter_conditioning_scale",
    1.0,
    "outputs are for scale 1: multiply the features by it (by 0 after adapter_conditioning_factor of the steps), those "
    "of each adapter by its own before they are summed",
)

LORA_SCALE = FixedSetting(
    "lora_scale",
    None,
    "a checkpoint's graph has no LoRA: --lora merges one into the weights, where its scale is fixed",
)

IP_ADAPTER_SCALE = FixedSetting(
    "ip_adapter_scale",
    None,
    "the graph has no IP-Adapter, and so no scale of one",
)

LAST_LAYER = FixedSetting(
    "clip_skip", None, "the state is that of the last layer; with clip_skip it would be an earlier one's"
)

LAST_BUT_ONE = FixedSetting(
    "clip_skip", None, "the state is that of the last layer but one; with clip_skip it would be an earlier one's"
)
