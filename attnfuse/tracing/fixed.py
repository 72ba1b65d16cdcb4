"""What a graph has fixed that a pipeline may set at run time: told for each component, beside its inputs.

From the entry of the table (its `told`, and the arguments it fixes) and from what the trace assumes: rows for guidance,
the type of the timestep. Imports `contract`, `schedulers` and `specs` of this package; no MindSpore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attnfuse.tracing.contract import FixedValue, TensorSpec
from attnfuse.tracing.schedulers import assumption
from attnfuse.tracing.specs.context import CLASSIFIER_FREE, Guidance, SpecContext
from attnfuse.tracing.specs.record import Input, Spec

#: Arguments that say in which form the result comes, or keep a branch out that pipelines never take.
_FORM = frozenset(
    {"return_dict", "output_hidden_states", "use_cache", "attention_mask_all", "sparse_params", "force_not_quantize"}
)

_MEANINGS: Mapping[str, str] = {
    "apply_control": "outside of control_guidance_start and _end it would be another graph, without the ControlNet",
    "base_sequence_length": "patches of a picture of the default size, in proportion to which attention is scaled",
    "conditioning_scale": "of the ControlNet, which is within the model: another would be another graph",
    "controlnet_blocks_repeat": "whether the ControlNet's blocks are taken in turns, as its kind asks for",
    "enable_temporal_attentions": "attention over frames is in the graph; without it, it would be another one",
    "fps": "frames a second, with which time is measured: for other videos trace with another, given with --inputs",
    "height": "latents from top to bottom",
    "img_shapes": "frames, rows and columns of each picture's packed latents",
    "num_frames": "frames that are decoded or denoised in one run",
    "rope_interpolation_scale": "seconds (at 25 frames each) and pixels that a latent stands for",
    "scale_factor": "by which positions of frames, rows and columns are divided",
    "txt_seq_lens": "tokens of each text, all of them: padding counts as text",
    "width": "latents from left to right",
}
_ARGUMENT = "an argument of the call"
CLIP_SKIP = "clip_skip"
"""What pipelines call the number of a text encoder's last layers that are left out."""


def fixed_values(
    spec: Spec, context: SpecContext, entries: Sequence[Input], inputs: Sequence[TensorSpec]
) -> list[FixedValue]:
    """What the graph of a spec has fixed; `entries` and `inputs` are its inputs as the table and the plan have them."""
    stated = [
        _skipped(context) if one.name == CLIP_SKIP and spec.skip is not None and context.shapes.clip_skip else one
        for one in (
            FixedValue(one.name, one.value if one.told is None else one.told(context), one.meaning)
            for one in spec.fixed_settings
            if one.when is None or one.when(context)
        )
    ]
    arguments = {**spec.fixed, **(spec.constants(context) if spec.constants is not None else {})}
    return [*stated, *_rows(spec, context), *_timestep(context, entries, inputs), *_arguments(arguments)]


def given_values(fixed: Mapping[str, Any]) -> list[FixedValue]:
    """The arguments that the user fixes with --inputs."""
    return list(_arguments(fixed))


def _skipped(context: SpecContext) -> FixedValue:
    meaning = "so many layers are skipped: the state is that of an earlier one; for another number compile again"
    return FixedValue(CLIP_SKIP, context.shapes.clip_skip, meaning)


def _rows(spec: Spec, context: SpecContext) -> Iterator[FixedValue]:
    """Whether both halves of classifier-free guidance are rows of one batch."""
    if not any(size in ("rows", "text_rows", "frame_rows") for entry in spec.inputs for size in entry.shape):
        return
    rows = context.sizes["rows"] // context.sizes["batch"]
    if context.guidance != CLASSIFIER_FREE:
        yield _ordered_rows(context.guidance, rows)
    elif rows > 1:
        meaning = "two rows an image: without and with the prompt in one run; --no-guidance traces for one row"
        yield FixedValue("guidance_rows", 2, meaning)
    else:
        meaning = "one row an image: with classifier-free guidance run it once without and once with the prompt"
        yield FixedValue("guidance_rows", 1, f"{meaning}; --guidance traces for both rows in one run")


def _ordered_rows(guidance: Guidance, rows: int) -> FixedValue:
    """What each row of an image is for, where it is not one half of classifier-free guidance."""
    is_guided = rows == len(guidance.guided)
    told, other = (guidance.guided, guidance.alone) if is_guided else (guidance.alone, guidance.guided)
    option = "--no-guidance" if is_guided else "--guidance"
    meaning = f"rows an image, in one run and in this order: {'; '.join(told)}"
    return FixedValue("guidance_rows", rows, f"{meaning}; {option} traces for {len(other)}")


def _timestep(context: SpecContext, entries: Sequence[Input], inputs: Sequence[TensorSpec]) -> Iterator[FixedValue]:
    """The type of a timestep that the scheduler hands over: another scheduler may have another."""
    for entry, found in zip(entries, inputs, strict=True):
        if entry.dtype == "timestep":
            scheduler = context.pipeline.classes.get("scheduler")
            if context.shapes.timestep_dtype is not None:
                whose = "asked for"
            elif scheduler is None:
                whose = "assumed: no scheduler is named"
            elif assumption(scheduler):
                whose = f"assumed: scheduler class {scheduler} is not known"
            else:
                whose = f"as {scheduler} has it"
            other = "int64" if found.dtype == "float32" else "float32"
            yield FixedValue(
                f"{entry.name}_dtype", found.dtype, f"{whose}; for a scheduler with {other} timesteps trace again"
            )


def _arguments(fixed: Mapping[str, Any]) -> Iterator[FixedValue]:
    for name, value in fixed.items():
        if name in _FORM or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _arguments(value)
        else:
            yield FixedValue(name, json.loads(json.dumps(value)), _MEANINGS.get(name, _ARGUMENT))
