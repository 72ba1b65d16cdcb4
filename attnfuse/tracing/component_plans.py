"""One call of one part becomes a `ComponentPlan`: that of an entry of the table, or one that the user gave.

Imports of this package what imports no MindSpore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from attnfuse.tracing.contract import Call, ComponentPlan, Library, TensorSpec
from attnfuse.tracing.fixed import fixed_values, given_values
from attnfuse.tracing.folder import PipelineFolder
from attnfuse.tracing.inputs import GivenCall
from attnfuse.tracing.schedulers import assumption, timestep_dtype
from attnfuse.tracing.specs.context import SpecContext
from attnfuse.tracing.specs.patch_names import DEVICE_CALLS, GIVEN_MODELS, MASKED_ATTENTION, STACKED_ROTARY
from attnfuse.tracing.specs.record import FLOAT, Input, Spec, measure, unsupported


def plan_call(spec: Spec, name: str, context: SpecContext, doubts: tuple[str, ...]) -> ComponentPlan:
    """The component `name` of an entry of the table, with what is to be told of the part's configuration."""
    model_dtype = context.dtype if context.exactly else spec.dtype(context)
    given = [one for entry in spec.inputs for one in _expand(entry, spec, context)]
    inputs = tuple(TensorSpec(entry.name, shape, _dtype(entry.dtype, model_dtype, context)) for entry, shape in given)
    fixed = {**spec.fixed, **(spec.constants(context) if spec.constants is not None else {})}
    entries = [entry for entry, _ in given]
    call = Call(spec.method, arguments(entries, fixed), _outputs(spec, context))
    warnings = [
        assumption(context.pipeline.classes.get("scheduler"))
        for entry, _ in given
        if entry.dtype == "timestep" and context.shapes.timestep_dtype is None
    ]
    if spec.doubt is not None:
        warnings.append(spec.doubt(context))
    return ComponentPlan(
        name=name,
        model=context.model,
        class_name=spec.class_name,
        library=spec.library,
        folder=context.pipeline.folders[context.model],
        call=call,
        dtype=model_dtype,
        inputs=inputs,
        patches=spec.patches,
        fixed=tuple(fixed_values(spec, context, entries, inputs)),
        dtype_from=context.dtype_from if model_dtype == context.dtype else "the pipeline runs it in that type",
        warnings=(*doubts, *filter(None, warnings)),
        sizes=context.sizes,
    )


# None but what any model of the library means the same with.
_GIVEN_PATCHES: Mapping[Library, tuple[str, ...]] = {
    "diffusers": (MASKED_ATTENTION, STACKED_ROTARY),
    "transformers": (MASKED_ATTENTION, DEVICE_CALLS, GIVEN_MODELS),
}


def given_library(model: str, pipeline: PipelineFolder) -> Library:
    """The library of a part that inputs are given for; TraceError for any but the two whose loaders are known."""
    library = pipeline.libraries[model]
    if library == "diffusers":
        return "diffusers"
    if library == "transformers":
        return "transformers"
    raise unsupported(model, f"library {library} is not supported; it must be diffusers or transformers")


def plan_given_call(call: GivenCall, context: SpecContext, doubts: tuple[str, ...]) -> ComponentPlan:
    """The component of a call that the user gave, with what is to be told of the part's configuration."""
    pipeline, model = context.pipeline, context.model
    library = given_library(model, pipeline)
    entries = [Input(one.name, one.shape, one.dtype, one.to) for one in call.inputs]
    return ComponentPlan(
        name=call.component,
        model=model,
        class_name=pipeline.classes[model],
        library=library,
        folder=pipeline.folders[model],
        call=Call(
            call.method,
            arguments(entries, call.fixed),
            tuple(
                (name, "result" + "".join(f"[{number}]" for number in place.split(".") if number))
                for name, place in call.outputs
            ),
        ),
        dtype=context.dtype,
        inputs=tuple(TensorSpec(one.name, one.shape, _dtype(one.dtype, context.dtype, context)) for one in call.inputs),
        patches=_GIVEN_PATCHES[library],
        fixed=tuple(given_values(call.fixed)),
        dtype_from=context.dtype_from,
        warnings=doubts,
        sizes=context.sizes,
    )


def _expand(entry: Input, spec: Spec, context: SpecContext) -> list[tuple[Input, tuple[int, ...]]]:
    """The tensors an entry stands for, with their shapes: none, one or several."""
    if entry.when is not None and not entry.when(context):
        return []
    if entry.each is None:
        return [(entry, tuple(measure(spec, context, size) for size in entry.shape))]
    return [
        (replace(entry, name=entry.name.format(i=i), to=entry.to.format(i=i)), shape)
        for i, shape in enumerate(entry.each(context))
    ]


def _dtype(wanted: str, model_dtype: str, context: SpecContext) -> str:
    if wanted == FLOAT:
        return model_dtype
    if wanted == "timestep":
        return context.shapes.timestep_dtype or timestep_dtype(context.pipeline.classes.get("scheduler"))
    return wanted


def _outputs(spec: Spec, context: SpecContext) -> tuple[tuple[str, str], ...]:
    outputs: list[tuple[str, str]] = []
    for output in spec.outputs:
        count = 1 if output.each is None else output.each(context)
        outputs += [(output.name.format(i=i), output.of.format(i=i)) for i in range(count)]
    return tuple(outputs)


def arguments(inputs: Sequence[Input], fixed: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """The arguments of a call: keywords and Python expressions over the inputs' names, which come before `fixed`."""
    whole = _gathered([((entry.to or entry.name), entry.name) for entry in inputs])
    return (*whole.items(), *((keyword, repr(value)) for keyword, value in fixed.items() if keyword not in whole))


def _gathered(places: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Expressions by the first part of their places; those that share it are one list (of numbers) or dictionary.

    Whole ones come first.
    """
    whole: dict[str, str] = {}
    parts: dict[str, list[tuple[str, str]]] = {}
    for place, name in places:
        first, _, rest = place.partition(".")
        if rest:
            parts.setdefault(first, []).append((rest, name))
        else:
            whole[first] = name
    for first, inner in parts.items():
        elements = _gathered(inner)
        if all(key.isdigit() for key in elements):
            whole[first] = f"[{', '.join(elements.values())}]"
        else:
            whole[first] = "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in elements.items()) + "}"
    return whole
