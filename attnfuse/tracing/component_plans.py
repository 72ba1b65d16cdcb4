"""One call of one part becomes a `ComponentPlan`: that of an entry of the table, or one that the user gave.

Imports of this package what imports no MindSpore.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from attnfuse.errors import UsageError
from attnfuse.tracing.contract import Call, ComponentPlan, Library, TensorSpec
from attnfuse.tracing.fixed import fixed_values, given_values
from attnfuse.tracing.folder import UNET, PipelineFolder, read_json
from attnfuse.tracing.inputs import GivenCall, flattened
from attnfuse.tracing.schedulers import assumption, timestep_dtype
from attnfuse.tracing.specs import specs_of
from attnfuse.tracing.specs.context import SpecContext
from attnfuse.tracing.specs.patch_names import (
    DEVICE_CALLS,
    GIVEN_MODELS,
    JOINT_SEQUENCE,
    MASKED_ATTENTION,
    MASKED_TEXT,
    PICTURE_PROMPT,
    PLAIN_RESULTS,
    SEEN_PICTURE,
    STACKED_ROTARY,
    TEXT_DECODER,
    UNPOOLED,
)
from attnfuse.tracing.specs.record import FLOAT, Input, Spec, measure, unsupported


def plan_call(spec: Spec, name: str, context: SpecContext, doubts: tuple[str, ...]) -> ComponentPlan:
    """The component `name` of an entry of the table, with what is to be told of the part's configuration."""
    model_dtype = context.dtype if context.exactly else spec.dtype(context)
    given = [one for entry in spec.inputs for one in _expand(entry, spec, context)]
    inputs = tuple(TensorSpec(entry.name, shape, _dtype(entry.dtype, model_dtype, context)) for entry, shape in given)
    fixed = {**spec.fixed, **(spec.constants(context) if spec.constants is not None else {})}
    if _skipped(spec, context) is not None:
        fixed["output_hidden_states"] = True
    entries = [entry for entry, _ in given]
    call = Call(spec.method, arguments(entries, fixed), _outputs(spec, context))
    warnings = [
        assumption(context.pipeline.classes.get("scheduler"))
        for entry, _ in given
        if entry.dtype == "timestep" and context.shapes.timestep_dtype is None
    ]
    if spec.doubt is not None:
        warnings.append(spec.doubt(context))
    adapter = context.pipeline.ip_adapter if context.model == UNET else None
    return ComponentPlan(
        name=name,
        model=context.model,
        class_name=spec.class_name,
        library=spec.library,
        folder=context.pipeline.folders[context.model],
        call=call,
        dtype=model_dtype,
        inputs=inputs,
        patches=(*spec.patches, *(() if adapter is None else (PICTURE_PROMPT,))),
        package="",
        variant="",
        checkpoint=context.pipeline.checkpoint_of(context.model),
        ip_adapter=None if adapter is None else adapter.file,
        fixed=tuple(fixed_values(spec, context, entries, inputs)),
        processors=() if spec.processors is None else spec.processors(context),
        dtype_from=context.dtype_from if model_dtype == context.dtype else "the pipeline runs it in that type",
        warnings=(*doubts, *filter(None, warnings)),
        sizes=context.sizes,
    )


# None but what any model of the library means the same with.
_GIVEN_PATCHES: Mapping[Library, tuple[str, ...]] = {
    "diffusers": (MASKED_ATTENTION, STACKED_ROTARY),
    "transformers": (MASKED_ATTENTION, DEVICE_CALLS, GIVEN_MODELS),
}


# They take the place of a whole model, for the call of one pipeline: other arguments, or results in another form.
_OF_ONE_CALL = frozenset({JOINT_SEQUENCE, MASKED_TEXT, PLAIN_RESULTS, SEEN_PICTURE, TEXT_DECODER, UNPOOLED})


def _given_patches(class_name: str, library: Library) -> tuple[str, ...]:
    """What a class may need, and what it is known to, where the table has it, whatever it is called with."""
    known = (patch for spec in specs_of(class_name) for patch in spec.patches if patch not in _OF_ONE_CALL)
    return tuple(dict.fromkeys((*_GIVEN_PATCHES[library], *known)))


def _elements(place: str) -> str:
    """`[1]["key"]` of "1.key", and nothing of the whole."""
    parts = filter(None, place.split("."))
    return "".join(f"[{part}]" if part.lstrip("-").isdigit() else f"[{json.dumps(part)}]" for part in parts)


def given_library(model: str, pipeline: PipelineFolder) -> Library:
    """The library whose loader a part is loaded as that inputs are given for.

    That of a class which lies beside a pipeline of mindone, or elsewhere in it, is told by its configuration. Raises
    TraceError for one that lies nowhere in mindone.
    """
    library = pipeline.libraries[model]
    if library == "diffusers":
        return "diffusers"
    if library == "transformers":
        return "transformers"
    if not package_of(library):
        raise unsupported(model, f"library {library} is not supported; it must be diffusers, transformers or mindone's")
    config = pipeline.folders[model] / "config.json"
    return "diffusers" if config.is_file() and "_class_name" in read_json(config) else "transformers"


def package_of(library: str) -> str:
    """Where below mindone the classes lie that model_index.json names as of that library; empty where nowhere."""
    spec = importlib.util.find_spec("mindone")
    places = None if spec is None else spec.submodule_search_locations
    for name in (f"diffusers.pipelines.{library}", library.removeprefix("mindone.")):
        parts = name.split(".")
        if all(part.isidentifier() for part in parts):
            for place in places or ():
                found = Path(place).joinpath(*parts)
                if found.is_dir() or found.with_suffix(".py").is_file():
                    return name
    return ""


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
        package="" if pipeline.libraries[model] == library else package_of(pipeline.libraries[model]),
        variant="",
        checkpoint=pipeline.checkpoint_of(model),
        processors=(),
        ip_adapter=None,
        call=Call(
            call.method,
            arguments(entries, flattened(call.fixed, [entry.to or entry.name for entry in entries]), call.tuples),
            tuple((name, "result" + _elements(place)) for name, place in call.outputs),
        ),
        dtype=context.dtype,
        inputs=tuple(TensorSpec(one.name, one.shape, _dtype(one.dtype, context.dtype, context)) for one in call.inputs),
        patches=_given_patches(pipeline.classes[model], library) if call.patches is None else call.patches,
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
    earlier = _skipped(spec, context)
    return tuple((name, of if earlier is None or name != earlier[0] else earlier[1]) for name, of in outputs)


def _skipped(spec: Spec, context: SpecContext) -> tuple[str, str] | None:
    """The output that is an earlier layer's state, and its expression; None where no layers are to be skipped.

    Raises UsageError where the model has too few.
    """
    skip, wanted = spec.skip, context.shapes.clip_skip
    if skip is None or wanted is None:
        return None
    layers = context.number("num_hidden_layers", default=12)
    if wanted + skip.least > layers + 1:
        raise UsageError(
            f"--clip-skip {wanted}: {context.model} has {layers} layers, of which at most {layers + 1 - skip.least} can"
            " be skipped."
        )
    return skip.output, skip.of.format(model=context.model, back=wanted + skip.least)


def arguments(
    inputs: Sequence[Input], fixed: Mapping[str, object], tuples: Collection[str] = ()
) -> tuple[tuple[str, str], ...]:
    """The arguments of a call: keywords and Python expressions over the inputs' names, which come before `fixed`.

    What is fixed at a place such as "kwargs.scale" goes into the dictionary that inputs go into. `tuples` are places.
    """
    inner = [(place, repr(value)) for place, value in fixed.items() if "." in place]
    whole = _gathered([*((entry.to or entry.name, entry.name) for entry in inputs), *inner], tuples)
    rest = ((keyword, repr(value)) for keyword, value in fixed.items() if keyword not in whole and "." not in keyword)
    return (*whole.items(), *rest)


def _gathered(places: Sequence[tuple[str, str]], tuples: Collection[str] = (), within: str = "") -> dict[str, str]:
    """Expressions by the first part of their places; those that share it are one list (of numbers) or dictionary.

    Whole ones come first. Of `tuples`, the places are given from without; `within` is where these are.
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
        place = f"{within}{first}"
        elements = _gathered(inner, tuples, f"{place}.")
        if all(key.isdigit() for key in elements):
            listed = ", ".join(elements.values())
            whole[first] = f"({listed},)" if place in tuples else f"[{listed}]"
        else:
            whole[first] = "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in elements.items()) + "}"
    return whole
