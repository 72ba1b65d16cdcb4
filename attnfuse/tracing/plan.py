"""Plans one trace per component of a pipeline folder: which class, where, which inputs, what is called.

The knowledge is in the table (`specs`); here an entry of it meets a pipeline's configurations and what the user asked
for. Imports of this package what imports no MindSpore, `attnfuse.errors` and
`attnfuse.names`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attnfuse.errors import SourceError, TraceError, UsageError
from attnfuse.names import suggestion
from attnfuse.tracing.agreement import Contradiction, contradictions
from attnfuse.tracing.contract import AUTO, DYNAMIC_BATCHES, FLOAT_DTYPES, ComponentPlan, ShapeOptions, SizeFacts
from attnfuse.tracing.fixed import CLIP_SKIP
from attnfuse.tracing.folder import (
    SINGLE,
    UNET,
    Config,
    Configs,
    PipelineFolder,
    read_json,
    read_pipeline,
    sibling_of,
    with_ip_adapter,
    with_vae,
)
from attnfuse.tracing.inputs import GivenCall
from attnfuse.tracing.ip_adapter import check_fits
from attnfuse.tracing.original import with_checkpoint
from attnfuse.tracing.parts import WHOLE, Part, Terms, plan_part, specs_for
from attnfuse.tracing.specs import SPECS, family_of, specs_of
from attnfuse.tracing.specs.context import SpecContext
from attnfuse.tracing.specs.perturbed import PAG_STABLE_DIFFUSION, PAG_STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.pictures.stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.record import PipelineFamily

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


ADAPTED = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL, PAG_STABLE_DIFFUSION, PAG_STABLE_DIFFUSION_XL)
"""Families whose pipelines may have an IP-Adapter."""

NOT_ADAPTED = ("StableDiffusionAdapterPipeline", "StableDiffusionDiffEditPipeline")
"""Those of them that do not derive from mindone's `IPAdapterMixin`."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The traces that can be made, and the components that were asked for and cannot, each with the reason.

    `order` names all components of the pipeline, asked for or not, `models` its networks by attribute. `sizes` are
    those that it is planned for, where they are several.
    """

    plans: tuple[ComponentPlan, ...]
    failures: Mapping[str, str]
    order: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    sizes: tuple[SizeFacts, ...] = ()


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
    parts = _surveyed(folder, dtype, shapes, given, terms)
    for part in parts:
        if part.misuse:
            raise UsageError(part.misuse)
    return parts


def _surveyed(
    folder: Path, dtype: str, shapes: ShapeOptions, given: Sequence[GivenCall], terms: Terms
) -> tuple[Part, ...]:
    """`survey`, with what was asked of a part in vain not raised, but told of it."""
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
    for one in (dtype, *dict(shapes.dtypes).values()):
        if one not in (AUTO, *FLOAT_DTYPES):
            raise UsageError(f"dtype {one!r} is not one of {', '.join((AUTO, *FLOAT_DTYPES))}.")
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
    if terms.vae is not None:
        pipeline = with_vae(pipeline, terms.vae)
    if terms.checkpoint is not None:
        pipeline = with_checkpoint(pipeline, terms.checkpoint)
    if terms.ip_adapter is not None:
        pipeline = with_ip_adapter(pipeline, terms.ip_adapter)
    for call in given:
        if call.part not in pipeline.classes:
            parts = ", ".join(pipeline.classes)
            raise UsageError(f"{folder} has no part {call.part!r} that inputs are given for; it has {parts}.")
    family = _family(pipeline)
    if terms.ip_adapter is not None:
        _check_adapted(pipeline, family)
    if family is None and pipeline.class_name:
        return _survey_unknown(pipeline, dtype, shapes, given, terms)
    context = SpecContext(pipeline, _read_configs(pipeline, family), shapes, dtype, terms.exactly)
    if terms.ip_adapter is not None:
        check_fits(terms.ip_adapter, context.configs.read.get(UNET, {}))
    if family is not None and len({call.part for call in given}) < len(pipeline.classes):
        context = family.sized(context)
        if shapes.frames is not None and "frames" not in context.sizes:
            made = pipeline.class_name or next(iter(pipeline.classes.values()))
            raise UsageError(f"{shapes.frames} frames are of a video, and {made} is for pictures; drop them.")
    surveyed = tuple(
        _plan_part(replace(context, model=name), family, [call for call in given if call.part == name], terms)
        for name in _ordered(pipeline)
    )
    _check_components(surveyed, given)
    _check_lengths(surveyed, shapes, given)
    _check_dtypes(surveyed, shapes)
    _check_timesteps(surveyed, shapes)
    _check_skipped(surveyed, shapes)
    found = () if family is None else contradictions(context, family)
    user = {call.part for call in given}  # how they are called is the user's
    found = tuple(one for one in found if not user.intersection(one.parts))
    return tuple(_contradicted(part, pipeline, found) for part in surveyed)


def _ordered(pipeline: PipelineFolder) -> list[str]:
    """The parts, in the order in which they are planned."""
    names = [name for kind in _ORDER for name in pipeline.classes if sibling_of(name) == kind]
    return names + [name for name in pipeline.classes if name not in names]


def _survey_unknown(
    pipeline: PipelineFolder, dtype: str, shapes: ShapeOptions, given: Sequence[GivenCall], terms: Terms
) -> tuple[Part, ...]:
    """`survey` of a pipeline whose class is not known: its models are taken to be called as they are elsewhere.

    As in the first family that calls the first of its models so; what that has not, as in one of its own. Each says so.
    """
    names = _ordered(pipeline)
    first = next((family for name in names if (family := _elsewhere(name, pipeline)) is not None), None)
    surveyed = []
    for name in names:
        calls = [call for call in given if call.part == name]
        family = first if specs_for(name, pipeline, first) else _elsewhere(name, pipeline)
        surveyed.append(_plan_elsewhere(name, pipeline, family, dtype, shapes, calls, terms))
    _check_components(surveyed, given)
    _check_lengths(surveyed, shapes, given)
    _check_skipped(surveyed, shapes)
    _check_dtypes(surveyed, shapes)
    return tuple(surveyed)


def _elsewhere(name: str, pipeline: PipelineFolder) -> PipelineFamily | None:
    """The first family that has a part of that name and class."""
    specs = (spec for spec in specs_of(pipeline.classes[name]) if name in spec.models)
    return next((spec.families[0] for spec in specs), None)


def _plan_elsewhere(
    name: str,
    pipeline: PipelineFolder,
    family: PipelineFamily | None,
    dtype: str,
    shapes: ShapeOptions,
    given: Sequence[GivenCall],
    terms: Terms,
) -> Part:
    """A part as pipelines of that family call it, told with each of its plans."""
    context = SpecContext(pipeline, _read_configs(pipeline, family), shapes, dtype, terms.exactly, name)
    if family is None or given or name in family.aside:
        return _plan_part(context, family, given, terms)
    try:
        context = family.sized(context)
    except SourceError as error:
        problem = str(error).replace(f"{pipeline.root}/", "").rstrip(".")
        return Part(name, pipeline.classes[name], (name,), problem=problem)
    part = _plan_part(context, family, given, terms)
    whose = f"of the folder's own code ({pipeline.own_code}), which is never run" if pipeline.own_code else "not known"
    assumed = (
        f"pipeline class {pipeline.class_name} is {whose}: it is taken to call {name} as those of {family.name} do;"
        " hold inputs, rows and types to what it hands over, or say them with --inputs"
    )
    return replace(part, plans=tuple(replace(plan, warnings=(assumed, *plan.warnings)) for plan in part.plans))


def _plan_part(context: SpecContext, family: PipelineFamily | None, given: Sequence[GivenCall], terms: Terms) -> Part:
    """`_plan_sized`, with each component in the type that is named for it, or for all of its part."""
    part = _plan_sized(context, family, given, terms)
    named = dict(context.shapes.dtypes)
    wanted = {name: dtype for name in part.components if (dtype := named.get(name, named.get(part.model)))}
    if not part.plans or not wanted:
        return part
    made = {plan.name: plan for plan in part.plans}
    for dtype in dict.fromkeys(wanted.values()):
        usual, exact = (
            _plan_sized(replace(context, dtype=dtype, exactly=exactly and dtype != AUTO), family, given, terms)
            for exactly in (False, True)
        )
        if not exact.plans:
            return exact
        for plan, by_itself in zip(exact.plans, usual.plans, strict=True):
            if wanted.get(plan.name) == dtype:
                made[plan.name] = _told_of_type(plan, by_itself.dtype)
    return replace(part, plans=tuple(made.values()))


def _told_of_type(plan: ComponentPlan, usual: str) -> ComponentPlan:
    """The plan, with a warning where the pipeline would hold the model in another type."""
    if plan.dtype == usual:
        return plan
    other = f"its type is {plan.dtype}, as --dtype names it, and the pipeline would run it in {usual}"
    return replace(plan, warnings=(other, *plan.warnings))


def _plan_sized(context: SpecContext, family: PipelineFamily | None, given: Sequence[GivenCall], terms: Terms) -> Part:
    """`plan_part`, with the length of a text that the part has of its own."""
    part = plan_part(context, family, given, terms)
    named = {name: length for name, length in context.shapes.sequence_lengths if name in (part.model, *part.components)}
    if not named or family is None or given or not part.is_network or part.problem:
        return part
    if len(set(named.values())) > 1:
        raise UsageError(f"--sequence-length gives {part.model} two lengths ({_said(named)}); give one.")
    length = next(iter(named.values()))
    found = _at_length(context, family, terms, length)
    # One that changes nothing is no length of this part, unless it is the one it has anyway.
    if found.plans == part.plans and _at_length(context, family, terms, length - 1 or 2).plans == part.plans:
        raise UsageError(f"--sequence-length {_said(named)}: {part.model} has no text of that length; drop it.")
    return found


def _at_length(context: SpecContext, family: PipelineFamily, terms: Terms, length: int) -> Part:
    """A part at that length of a text, whatever others have."""
    context = replace(context, shapes=replace(context.shapes, sequence_length=length))
    return plan_part(family.sized(context), family, (), terms)


def _said(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={length}" for name, length in lengths.items())


def _check_lengths(parts: Sequence[Part], shapes: ShapeOptions, given: Sequence[GivenCall]) -> None:
    """Raise UsageError where a length is given to what the pipeline has not, or to a call with shapes of its own."""
    known = [name for part in parts if part.is_network for name in dict.fromkeys((*part.components, part.model))]
    for name, length in shapes.sequence_lengths:
        if name not in known:
            raise UsageError(
                f"--sequence-length {name}={length}: there is no component {name!r}; {suggestion(name, known)}"
            )
        for call in given:
            if name in (call.component, call.part):
                raise UsageError(f"--sequence-length {name}={length}: --inputs gives all shapes of {name}; drop one.")


def _check_dtypes(parts: Sequence[Part], shapes: ShapeOptions) -> None:
    """Raise UsageError where a type is named for what the pipeline has not."""
    known = [name for part in parts if part.is_network for name in dict.fromkeys((*part.components, part.model))]
    for name, dtype in shapes.dtypes:
        if name not in known:
            raise UsageError(f"--dtype {name}={dtype}: there is no component {name!r}; {suggestion(name, known)}")


def _check_timesteps(parts: Sequence[Part], shapes: ShapeOptions) -> None:
    """Raise UsageError where a type is asked for, and no part takes a timestep as the scheduler has it."""
    if shapes.timestep_dtype is None or any(part.problem or part.misuse for part in parts):
        return
    fixed = [one.name for part in parts for plan in part.plans for one in plan.fixed]
    if "timestep_dtype" not in fixed:
        raise UsageError(
            f"--timestep-dtype {shapes.timestep_dtype} is for components that take the scheduler's timesteps, and none"
            " does here; drop it."
        )


def _check_adapted(pipeline: PipelineFolder, family: PipelineFamily | None) -> None:
    """Raise UsageError where a pipeline has an IP-Adapter, and it is not known how it is run."""
    if UNET in pipeline.classes and family in ADAPTED and pipeline.class_name not in NOT_ADAPTED:
        return
    of = pipeline.class_name or next(iter(pipeline.classes.values()))
    raise UsageError(
        f"an IP-Adapter is for the UNet of Stable Diffusion and of XL, in the pipelines that have load_ip_adapter, and"
        f" {pipeline.root} is of {of}; drop it."
    )


def _check_skipped(parts: Sequence[Part], shapes: ShapeOptions) -> None:
    """Raise UsageError where layers are to be skipped, and there is no text encoder whose pipelines do."""
    if shapes.clip_skip is None or any(part.problem or part.misuse for part in parts):
        return
    if not any(one.name == CLIP_SKIP and one.value for part in parts for plan in part.plans for one in plan.fixed):
        raise UsageError(
            f"--clip-skip {shapes.clip_skip} is for text encoders of pipelines that have clip_skip, and there is none"
            " here; drop it."
        )


def _contradicted(part: Part, pipeline: PipelineFolder, found: Sequence[Contradiction]) -> Part:
    """A part with what does not fit it."""
    contradictions = tuple(
        f"{pipeline.root}: {one.message}: these parts are not of one pipeline; take them from the same."
        for one in found
        if part.model in one.parts
    )
    return replace(part, contradictions=contradictions)


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
    parts = [part for part in _surveyed(folder, dtype, shapes, given, terms) if part.is_network]
    known = [name for part in parts for name in part.components]
    components = _chosen(folder, parts, components, terms.exclude)
    for part in parts:
        if part.misuse and (not components or not set(components).isdisjoint(part.components)):
            raise UsageError(part.misuse)
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
    return Planned(plans, failures, tuple(known), tuple(part.model for part in parts))


def _chosen(folder: Path, parts: Sequence[Part], wanted: Sequence[str], unwanted: Sequence[str]) -> tuple[str, ...]:
    """The components that are named, a part's name standing for all of its; none where neither list names any."""
    whole = {part.model: part.components for part in parts}
    named = {**{name: (name,) for names in whole.values() for name in names}, **whole}
    for name in (*wanted, *unwanted):
        if name not in named:
            raise UsageError(f"{folder} has no component {name!r}; {suggestion(name, named)}")
    left = {component for name in unwanted for component in named[name]}
    asked = [component for name in wanted or (whole if unwanted else ()) for component in named[name]]
    chosen = tuple(dict.fromkeys(component for component in asked if component not in left))
    if unwanted and not chosen:
        raise UsageError(f"--exclude {' --exclude '.join(unwanted)} leaves nothing of {folder} to compile; drop one.")
    return chosen


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


def _family(pipeline: PipelineFolder) -> PipelineFamily | None:
    """The pipeline's; of a single model, the first its class is used in."""
    if pipeline.class_name:
        return None if pipeline.own_code else family_of(pipeline.class_name)
    (class_name,) = pipeline.classes.values()
    specs = specs_of(class_name)
    return specs[0].families[0] if specs else None


def _read_configs(pipeline: PipelineFolder, family: PipelineFamily | None) -> Configs:
    """Read the config.json of every part the table has entries for."""
    read: dict[str, Config] = {}
    damaged: dict[str, SourceError] = {}
    for name in pipeline.classes:
        if not specs_for(name, pipeline, family):
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


def _check_shapes(shapes: ShapeOptions) -> None:
    named = {
        name: getattr(shapes, name) for name in ("batch", "height", "width", "sequence_length", "frames", "clip_skip")
    }
    named |= {f"sequence length of {name}": length for name, length in shapes.sequence_lengths}
    for name, value in named.items():
        if value is not None and value < 1:
            raise UsageError(f"{name.replace('_', ' ')} {value} is not a positive number.")
