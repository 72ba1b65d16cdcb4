"""Plans one trace per component of a pipeline folder: which class, where, which inputs, what is called.

The knowledge is in the table (`specs`); here an entry of it meets a pipeline's configurations and what the user asked
for. Imports of this package what imports no MindSpore, and `attnfuse.errors`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnfuse.errors import SourceError, TraceError, UsageError
from attnfuse.tracing.agreement import Contradiction, contradictions
from attnfuse.tracing.checkpoint import damage, has_weights, stored_tensors
from attnfuse.tracing.config_check import check_config
from attnfuse.tracing.contract import (
    AUTO,
    DYNAMIC_BATCHES,
    FLOAT_DTYPES,
    Call,
    ComponentPlan,
    Library,
    ShapeOptions,
    TensorSpec,
)
from attnfuse.tracing.fixed import fixed_values, given_values
from attnfuse.tracing.folder import SINGLE, Config, Configs, PipelineFolder, read_json, read_pipeline
from attnfuse.tracing.inputs import GivenCall
from attnfuse.tracing.quantisation import quantisation_of
from attnfuse.tracing.schedulers import assumption, timestep_dtype
from attnfuse.tracing.specs import SPECS, family_of, specs_of
from attnfuse.tracing.specs.context import SpecContext
from attnfuse.tracing.specs.patch_names import DEVICE_CALLS, MASKED_ATTENTION
from attnfuse.tracing.specs.record import ASIDE, FLOAT, Family, Input, Spec, measure, unsupported
from attnfuse.tracing.stored_types import choose_dtype, stored_in

#: The order in which a pipeline's parts are planned; others come after, as model_index.json has them.
_ORDER = (
    "unet",
    "transformer",
    "transformer_2",
    "prior",
    "controlnet",
    "adapter",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
)

#: Parts that hold no network, by the end of their class's name.
_NO_NETWORK = (
    "Scheduler",
    "Tokenizer",
    "TokenizerFast",
    "FeatureExtractor",
    "ImageProcessor",
    "ImageProcessorFast",
    "Processor",
    "Watermarker",
)

#: What the class of a network has in its name.
_NETWORK_CLASS = re.compile(r"UNet|Transformer|Autoencoder|ControlNet|(Model|Encoder|Decoder)$")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a pipeline: the traces it comes to, or why there are none.

    `model` is its attribute, `components` the graphs' names. `plans` is empty where it holds no network
    (`is_network` false) or where `problem`, in words that follow "component NAME:", says why it cannot be traced.
    `contradictions` say what does not fit together in the pipeline, this part being one of it: whole sentences.
    """

    model: str
    class_name: str
    components: tuple[str, ...] = ()
    plans: tuple[ComponentPlan, ...] = ()
    is_network: bool = True
    problem: str = ""
    contradictions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without places on this machine."""
        return {
            "name": self.model,
            "class": self.class_name,
            "network": self.is_network,
            "problem": self.problem or None,
            **({"contradictions": list(self.contradictions)} if self.contradictions else {}),
            "components": [
                {
                    "name": plan.name,
                    "dtype": plan.dtype,
                    "dtype_from": plan.dtype_from,
                    "warnings": list(plan.warnings),
                    "inputs": [spec.to_json() for spec in plan.open_inputs],
                    "outputs": [] if plan.call is None else [name for name, _ in plan.call.outputs],
                    "stand_ins": list(plan.patches),
                    "fixed": [value.to_json() for value in plan.fixed],
                }
                for plan in self.plans
            ],
        }


@dataclass(frozen=True, slots=True)
class Planned:
    """The traces that can be made, and the components that were asked for and cannot, each with the reason.

    `order` names all components of the pipeline, asked for or not.
    """

    plans: tuple[ComponentPlan, ...]
    failures: Mapping[str, str]
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a folder is planned, beside type and shapes.

    `exactly` holds every model in the type that is named, also those that mindone would run in another. `floats` are
    the types of `FLOAT_DTYPES` that the SoC computes in, among which "auto" chooses. `with_weights` says that the
    folder is whole: a part without a file of weights has none then. With `strict_config` a configuration that its class
    does not take, or of a newer library, is no warning but a reason not to trace (`config_check`).
    """

    exactly: bool = False
    floats: tuple[str, ...] = FLOAT_DTYPES
    with_weights: bool = True
    strict_config: bool = False


WHOLE = Terms()
"""The terms of a whole folder for a SoC that has every type."""


def survey(
    folder: Path,
    dtype: str,
    shapes: ShapeOptions,
    given: Sequence[GivenCall] = (),
    terms: Terms = WHOLE,
) -> tuple[Part, ...]:
    """Tell of every part of the pipeline (or of the single model) in `folder` what it would be traced with.

    `dtype` is one of float16, bfloat16, float32, or "auto": that of each part's checkpoint. What is `given` for a part
    overrules the table. For any batch, a plan has its twins. Raises UsageError for a bad dtype or shape or for what is
    given to no part, SourceError for a folder that is not a pipeline or is damaged.
    """
    if shapes.dynamic is None:
        return _survey(folder, dtype, shapes, given, terms)
    if shapes.batch is not None:
        raise UsageError(f"--batch {shapes.batch} is one batch, and --dynamic batch is for any; drop one.")
    if given:
        raise UsageError("what --inputs gives is of fixed shapes, and --dynamic batch is for any batch; drop one.")
    several = [
        _survey(folder, dtype, replace(shapes, batch=batch, dynamic=None), (), terms) for batch in DYNAMIC_BATCHES
    ]
    return tuple(_with_twins(parts) for parts in zip(*several, strict=True))


def _with_twins(parts: Sequence[Part]) -> Part:
    """One part of a pipeline at several batches: the first, its plans with those of the others as twins."""
    plans = zip(*(part.plans for part in parts), strict=True)
    return replace(parts[0], plans=tuple(replace(first, twins=tuple(others)) for first, *others in plans))


def _survey(
    folder: Path, dtype: str, shapes: ShapeOptions, given: Sequence[GivenCall], terms: Terms
) -> tuple[Part, ...]:
    """`survey` at one batch."""
    if dtype not in (AUTO, *FLOAT_DTYPES):
        raise UsageError(f"dtype {dtype!r} is not one of {', '.join((AUTO, *FLOAT_DTYPES))}.")
    _check_shapes(shapes)
    pipeline = read_pipeline(folder)
    _check_entries(pipeline)
    if SINGLE in pipeline.classes and not pipeline.class_name:
        specs = specs_of(pipeline.classes[SINGLE])
        if not specs and not given:
            class_name = pipeline.classes[SINGLE]
            raise TraceError(
                f"{folder / 'config.json'}: model class {class_name} is not supported; say with --inputs what it is"
                " called with."
            )
        pipeline = pipeline.named(given[0].part if given else specs[0].models[0])
    for call in given:
        if call.part not in pipeline.classes:
            parts = ", ".join(pipeline.classes)
            raise UsageError(f"{folder} has no part {call.part!r} that inputs are given for; it has {parts}.")
    family = _family(pipeline)
    context = SpecContext(pipeline, _read_configs(pipeline, family), shapes, dtype, terms.exactly)
    if family is not None and len({call.part for call in given}) < len(pipeline.classes):
        context = replace(context, sizes=family.sizes(context))
        if shapes.frames is not None and "frames" not in context.sizes:
            made = pipeline.class_name or next(iter(pipeline.classes.values()))
            raise UsageError(f"{shapes.frames} frames are of a video, and {made} is for pictures; drop them.")
    names = [name for name in _ORDER if name in pipeline.classes]
    names += [name for name in pipeline.classes if name not in _ORDER]
    surveyed = tuple(
        _part(replace(context, model=name), family, [call for call in given if call.part == name], terms)
        for name in names
    )
    _check_components(surveyed, given)
    found = () if family is None else contradictions(context, family)
    user = {call.part for call in given}  # how they are called is the user's
    found = tuple(one for one in found if not user.intersection(one.parts))
    return tuple(_contradicted(part, pipeline, found) for part in surveyed)


def _contradicted(part: Part, pipeline: PipelineFolder, found: Sequence[Contradiction]) -> Part:
    """A part with what does not fit it."""
    told = tuple(
        f"{pipeline.root}: {one.told}: these parts are not of one pipeline; take them from the same."
        for one in found
        if part.model in one.parts
    )
    return replace(part, contradictions=told)


def _check_components(parts: Sequence[Part], given: Sequence[GivenCall]) -> None:
    """Raise UsageError where what is given has the name of another part's component: they would be one file."""
    for call in given:
        for part in parts:
            if part.model != call.part and call.component in part.components:
                raise UsageError(
                    f"--inputs names a component {call.component!r} of {call.part}, and {part.model} has one of that "
                    "name; give it another."
                )


def plan_all(
    folder: Path,
    dtype: str,
    shapes: ShapeOptions,
    components: Sequence[str] = (),
    given: Sequence[GivenCall] = (),
    terms: Terms = WHOLE,
) -> Planned:
    """Plan the traces of the pipeline in `folder`, or those of `components`, in the pipeline's order.

    `dtype`, `given` and `terms` see `survey`. Raises UsageError for a bad dtype, shape or component name, SourceError
    for a folder that is not a pipeline, is damaged, or holds parts that do not fit together (of what is asked for),
    TraceError where nothing can be traced.
    """
    parts = [part for part in survey(folder, dtype, shapes, given, terms) if part.is_network]
    known = [name for part in parts for name in part.components]
    for name in components:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]!r}; " if close else ""
            raise UsageError(f"{folder} has no component {name!r}; {hint}it has {', '.join(known) or 'none'}.")
    for part in parts:
        if part.contradictions and any(not components or plan.name in components for plan in part.plans):
            raise SourceError(part.contradictions[0])
    plans = tuple(plan for part in parts for plan in part.plans if not components or plan.name in components)
    failures = {
        name: part.problem
        for part in parts
        if part.problem
        for name in part.components
        if not components or name in components
    }
    if not plans:
        if failures:
            name, problem = next(iter(failures.items()))
            raise TraceError(f"{folder}: component {name}: {problem}.")
        raise TraceError(f"{folder} has nothing to compile: it has no networks.")
    return Planned(plans, failures, tuple(known))


def plan_pipeline(
    folder: Path, dtype: str, shapes: ShapeOptions, components: Sequence[str] = (), terms: Terms = WHOLE
) -> tuple[ComponentPlan, ...]:
    """Plan as `plan_all`, where every component must be traceable: TraceError, naming it, for one that is not."""
    planned = plan_all(folder, dtype, shapes, components, (), terms)
    for name, problem in planned.failures.items():
        raise TraceError(f"{folder}: component {name}: {problem}; name the components to compile to leave it out.")
    return planned.plans


def _check_entries(pipeline: PipelineFolder) -> None:
    """Raise SourceError where what the table knows for a model is neither a class nor left out: it would be lost.

    What else is no pair of names is an option of the pipeline ("requires_safety_checker": true), or says nothing.
    """
    for name in dict.fromkeys(model for spec in SPECS for model in spec.models):
        value = pipeline.options.get(name)
        if value is not None and value != [None, None]:
            where = pipeline.root / "model_index.json"
            raise SourceError(f"{where}: {name} is {json.dumps(value)}, not a pair of a library and a class.")


def _family(pipeline: PipelineFolder) -> Family | None:
    """The pipeline's; of a single model, the first its class is used in."""
    if pipeline.class_name:
        return family_of(pipeline.class_name)
    (class_name,) = pipeline.classes.values()
    specs = specs_of(class_name)
    return specs[0].families[0] if specs else None


def _specs(model: str, pipeline: PipelineFolder, family: Family | None) -> tuple[Spec, ...]:
    """The entries for a part of a pipeline of that family."""
    known = specs_of(pipeline.classes[model])
    return tuple(spec for spec in known if family in spec.families and model in spec.models)


def _read_configs(pipeline: PipelineFolder, family: Family | None) -> Configs:
    """Read the config.json of every part the table has entries for."""
    read: dict[str, Config] = {}
    damaged: dict[str, SourceError] = {}
    for name in pipeline.classes:
        if not _specs(name, pipeline, family):
            continue
        try:
            if not pipeline.folders[name].is_dir():
                raise SourceError(
                    f"{pipeline.root / 'model_index.json'} names component {name},"
                    f" but there is no folder {pipeline.folders[name]}."
                )
            read[name] = read_json(pipeline.folders[name] / "config.json")
        except SourceError as error:
            damaged[name] = error
    return Configs(read, damaged)


def _part(context: SpecContext, family: Family | None, given: Sequence[GivenCall], terms: Terms) -> Part:
    model, pipeline = context.model, context.pipeline
    class_name = pipeline.classes[model]
    if given:
        components = tuple(call.component for call in given)
        library = _library_given(model, pipeline)
        context, quantised = _stored(context, library, terms)
        doubts = _doubts(class_name, library, (), context)
        problem = quantised or _strictly(doubts, terms)
        if problem:
            return Part(model, class_name, components, problem=problem)
        return Part(model, class_name, components, tuple(_plan_given(call, context, doubts) for call in given))
    if model in (ASIDE if family is None else family.aside) or class_name.endswith(_NO_NETWORK):
        return Part(model, class_name, is_network=False)
    specs = _specs(model, pipeline, family)
    if not specs:
        if not specs_of(class_name) and _is_without_weights(model, class_name, pipeline.folders[model], terms):
            return Part(model, class_name, is_network=False)
        return Part(model, class_name, (model,), problem=_unknown(class_name, pipeline, family))
    components = tuple(spec.component.format(model=model) for spec in specs)
    try:
        context, quantised = _stored(context, specs[0].library, terms)
        doubts = _doubts(class_name, specs[0].library, specs, context)
        refusals = (spec.refusal(context) for spec in specs)
        problem = next(filter(None, refusals), quantised or _strictly(doubts, terms))
        if problem:
            return Part(model, class_name, components, problem=problem)
        plans = tuple(_plan(spec, name, context, doubts) for spec, name in zip(specs, components, strict=True))
    except SourceError as error:  # a configuration that it needs, its own or another's, is damaged
        problem = str(error).replace(f"{pipeline.root}/", "").rstrip(".")
        return Part(model, class_name, components, problem=problem)
    return Part(model, class_name, components, plans)


def _is_without_weights(model: str, class_name: str, folder: Path, terms: Terms) -> bool:
    """Whether a part of a class that the table does not have holds no network: a sampler, a guider, a processor.

    Such a part has a folder with settings and no weights, or no folder. Where it has a network's name ("vae"), or no
    folder and the name of a network's class, the network is missing; where weights were not fetched, a `config.json`,
    which is what models have, is taken for a network's.
    """
    if any(model in spec.models for spec in SPECS) or has_weights(folder):
        return False
    if not folder.is_dir():
        return _NETWORK_CLASS.search(class_name) is None
    return terms.with_weights or not (folder / "config.json").is_file()


def _unknown(class_name: str, pipeline: PipelineFolder, family: Family | None) -> str:
    """Why the table has no entry for a part of that class."""
    if not specs_of(class_name):
        return f"class {class_name} is not supported; say with --inputs what it is called with"
    if family is None:
        return f"how a pipeline of class {pipeline.class_name} calls {class_name} is not known; say it with --inputs"
    return f"how a pipeline of the family {family.name} calls {class_name} there is not known; say it with --inputs"


def _stored(context: SpecContext, library: Library, terms: Terms) -> tuple[SpecContext, str]:
    """The context in the type that the part's checkpoint is stored in, where none is named; or why it is refused."""
    folder = context.pipeline.folders[context.model]
    tensors = stored_tensors(folder, library)
    problem = quantisation_of(context.pipeline, context.model, tensors)
    if not problem and terms.with_weights:
        problem = damage(folder, library).replace(f"{context.pipeline.root}/", "")
    if context.dtype != AUTO:
        return replace(context, dtype_from="; ".join(filter(None, ("asked for", stored_in(tensors))))), problem
    chosen = choose_dtype(tensors, _config_of(context), terms.floats)
    return replace(context, dtype=chosen.dtype, dtype_from=chosen.source), problem


def _doubts(class_name: str, library: Library, specs: Sequence[Spec], context: SpecContext) -> tuple[str, ...]:
    """What is to be told of a part's config.json, and of the scheduler's where the part takes its timesteps."""
    pipeline = context.pipeline
    written_by = pipeline.options.get("_diffusers_version") if library == "diffusers" else None
    doubts = [check_config(class_name, library, _config_of(context), written_by)]
    scheduler = pipeline.classes.get("scheduler")
    takes_timesteps = any(entry.name.startswith("timestep") for spec in specs for entry in spec.inputs)
    if scheduler is not None and takes_timesteps:
        path = pipeline.folders["scheduler"] / "scheduler_config.json"
        if path.is_file():
            doubts.append(check_config(scheduler, "diffusers", read_json(path), file=f"scheduler/{path.name}"))
    return tuple(filter(None, doubts))


def _strictly(doubts: Sequence[str], terms: Terms) -> str:
    """Why a part of such configurations is not traced, where they are taken strictly."""
    return f"{doubts[0]}; refused, --strict-config being given" if doubts and terms.strict_config else ""


def _config_of(context: SpecContext) -> Config:
    """A part's config.json as far as it can be read: who needs it tells that it cannot."""
    try:
        return read_json(context.path())
    except SourceError:
        return {}


def _plan(spec: Spec, name: str, context: SpecContext, doubts: tuple[str, ...]) -> ComponentPlan:
    held = context.dtype if context.exactly else spec.dtype(context)
    given = [one for entry in spec.inputs for one in _expand(entry, spec, context)]
    inputs = tuple(TensorSpec(entry.name, shape, _dtype(entry.dtype, held, context)) for entry, shape in given)
    fixed = {**spec.fixed, **(spec.constants(context) if spec.constants is not None else {})}
    entries = [entry for entry, _ in given]
    call = Call(spec.method, arguments(entries, fixed), _outputs(spec, context))
    warnings = [
        assumption(context.pipeline.classes.get("scheduler")) for entry, _ in given if entry.dtype == "timestep"
    ]
    return ComponentPlan(
        name=name,
        model=context.model,
        class_name=spec.class_name,
        library=spec.library,
        folder=context.pipeline.folders[context.model],
        call=call,
        dtype=held,
        inputs=inputs,
        patches=spec.patches,
        fixed=tuple(fixed_values(spec, context, entries, inputs)),
        dtype_from=context.dtype_from if held == context.dtype else "the pipeline runs it in that type",
        warnings=(*doubts, *filter(None, warnings)),
    )


def _library_given(model: str, pipeline: PipelineFolder) -> Library:
    """The library of a part that inputs are given for; TraceError for any but the two whose loaders are known."""
    library = pipeline.libraries[model]
    if library == "diffusers":
        return "diffusers"
    if library == "transformers":
        return "transformers"
    raise unsupported(model, f"library {library} is not supported; it must be diffusers or transformers")


def _plan_given(call: GivenCall, context: SpecContext, doubts: tuple[str, ...]) -> ComponentPlan:
    pipeline, model = context.pipeline, context.model
    library = _library_given(model, pipeline)
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
        # None but what any model of the library means the same with.
        patches=(MASKED_ATTENTION, DEVICE_CALLS) if library == "transformers" else (MASKED_ATTENTION,),
        fixed=tuple(given_values(call.fixed)),
        dtype_from=context.dtype_from,
        warnings=doubts,
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


def _dtype(wanted: str, held: str, context: SpecContext) -> str:
    if wanted == FLOAT:
        return held
    if wanted == "timestep":
        return timestep_dtype(context.pipeline.classes.get("scheduler"))
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


def _check_shapes(shapes: ShapeOptions) -> None:
    for name in ("batch", "height", "width", "sequence_length", "frames"):
        value = getattr(shapes, name)
        if value is not None and value < 1:
            raise UsageError(f"{name.replace('_', ' ')} {value} is not a positive number.")
