"""Plans one part of a pipeline: what it is, in which type it is traced, and why it cannot be.

Imports of this package what imports no MindSpore, and `attnfuse.errors`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attnfuse.errors import SourceError, UsageError
from attnfuse.tracing.checkpoint import damage, has_weights, stored_tensors
from attnfuse.tracing.component_plans import given_library, plan_call, plan_given_call
from attnfuse.tracing.config_check import check_config
from attnfuse.tracing.contract import AUTO, FLOAT_DTYPES, NOTHING_NAMED, ComponentPlan, Fetch, Library
from attnfuse.tracing.folder import IMAGE_ENCODER, Config, IpAdapter, PipelineFolder, read_json, sibling_of
from attnfuse.tracing.inputs import GivenCall
from attnfuse.tracing.original import original_tensors
from attnfuse.tracing.quantisation import quantisation_of
from attnfuse.tracing.specs import SPECS, specs_of
from attnfuse.tracing.specs.context import SpecContext
from attnfuse.tracing.specs.record import ASIDE, WEIGHTS_ONLY, PipelineFamily, Spec
from attnfuse.tracing.stored_types import choose_dtype, stored_in

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

_ASIDE = "a network, but no result passes through it unless more is loaded; compile it with --inputs"

#: What the class of a network has in its name.
_NETWORK_CLASS = re.compile(r"UNet|Transformer|Autoencoder|ControlNet|(Model|Encoder|Decoder)$")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a pipeline: the traces it comes to, or why there are none.

    `model` is its attribute, `components` the graphs' names. `plans` is empty where it holds no network
    (`is_network` false) or where `problem`, in words that follow "component NAME:", says why it cannot be traced.
    `contradictions` say what does not fit together in the pipeline, this part being one of it: whole sentences.
    `misuse` is a sentence too: what the user asked of it that it cannot be traced for. `aside` says of a network why it
    is none to compile.
    """

    model: str
    class_name: str
    components: tuple[str, ...] = ()
    plans: tuple[ComponentPlan, ...] = ()
    is_network: bool = True
    problem: str = ""
    contradictions: tuple[str, ...] = ()
    misuse: str = ""
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a folder is planned, beside type and shapes.

    `exactly` holds every model in the type that is named, also those that mindone would run in another. `floats` are
    the types of `FLOAT_DTYPES` that the SoC computes in, among which "auto" chooses. `with_weights` says that the
    folder is whole: a part without a file of weights has none then. With `strict_config` a configuration that its class
    does not take, or of a newer library, is no warning but a reason not to trace (`config_check`).
    `exclude` names components, or parts with all of theirs, that are left alone. `fetch` says which files are read;
    `checkpoint` is a single file with the weights of parts, `vae` the folder of another VAE, `ip_adapter` what its UNet
    is given beside, where there are such.
    """

    exactly: bool = False
    floats: tuple[str, ...] = FLOAT_DTYPES
    with_weights: bool = True
    strict_config: bool = False
    exclude: tuple[str, ...] = ()
    fetch: Fetch = NOTHING_NAMED
    checkpoint: Path | None = None
    vae: Path | None = None
    ip_adapter: IpAdapter | None = None


WHOLE = Terms()
"""The terms of a whole folder for a SoC that has every type."""


def specs_for(model: str, pipeline: PipelineFolder, family: PipelineFamily | None) -> tuple[Spec, ...]:
    """The entries for a part of a pipeline of that family: its own, and its base's for methods that it has none for."""
    known = [spec for spec in specs_of(pipeline.classes[model]) if sibling_of(model) in spec.models]
    chosen: list[Spec] = []
    for one in () if family is None else family.lineage:
        methods = {spec.method for spec in chosen}
        chosen += [spec for spec in known if one in spec.families and spec.method not in methods]
    return tuple(spec for spec in known if spec in chosen)


def plan_part(context: SpecContext, family: PipelineFamily | None, given: Sequence[GivenCall], terms: Terms) -> Part:
    """The part that `context.model` names, called as it is `given`, or as the table has it for pipelines of the family.

    Raises TraceError where calls are given for a part of a library whose loaders are not known.
    """
    model, pipeline = context.model, context.pipeline
    class_name = pipeline.classes[model]
    if given:
        components = tuple(call.component for call in given)
        library = given_library(model, pipeline)
        context, quantised = _stored(context, library, terms)
        doubts = _doubts(class_name, library, (), context)
        problem = quantised or _strictly(doubts, terms)
        if problem:
            return Part(model, class_name, components, problem=problem)
        return Part(model, class_name, components, tuple(plan_given_call(call, context, doubts) for call in given))
    if class_name in WEIGHTS_ONLY or class_name.endswith(_NO_NETWORK):
        return Part(model, class_name, is_network=False)
    aside = ASIDE if family is None else family.aside
    if model in aside and not (model == IMAGE_ENCODER and pipeline.ip_adapter is not None):
        return Part(model, class_name, is_network=False, aside=_ASIDE)
    if file := pipeline.own_code_of(model):
        problem = f"class {class_name} is of the folder's own code ({file}), which is never run"
        return Part(model, class_name, (model,), problem=problem)
    specs = specs_for(model, pipeline, family)
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
        plans = tuple(plan_call(spec, name, context, doubts) for spec, name in zip(specs, components, strict=True))
    except UsageError as error:
        return Part(model, class_name, components, misuse=str(error))
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


def _unknown(class_name: str, pipeline: PipelineFolder, family: PipelineFamily | None) -> str:
    """Why the table has no entry for a part of that class."""
    if not specs_of(class_name):
        return f"class {class_name} is not supported; say with --inputs what it is called with"
    if family is None:
        return f"how a pipeline of class {pipeline.class_name} calls {class_name} is not known; say it with --inputs"
    return f"how a pipeline of the family {family.name} calls {class_name} there is not known; say it with --inputs"


def _stored(context: SpecContext, library: Library, terms: Terms) -> tuple[SpecContext, str]:
    """The context in the type that the part's checkpoint is stored in, where none is named; or why it is refused."""
    pipeline, model = context.pipeline, context.model
    folder, checkpoint = pipeline.folders[model], pipeline.checkpoint_of(model)
    if checkpoint is not None:
        tensors = original_tensors(checkpoint, model, pipeline.classes[model], _config_of(context))
    else:
        tensors = stored_tensors(folder, library, terms.fetch.variant)
    problem = quantisation_of(pipeline, model, tensors)
    if not problem and checkpoint is None and pipeline.checkpoint is not None and not has_weights(folder):
        problem = f"{pipeline.checkpoint.name} has no weights of it, nor has {_within(folder, pipeline)}"
    if not problem and checkpoint is None and terms.with_weights:
        problem = damage(folder, library, terms.fetch.variant).replace(f"{pipeline.root}/", "")
    if context.dtype != AUTO:
        return replace(context, dtype_from="; ".join(filter(None, ("asked for", stored_in(tensors))))), problem
    chosen = choose_dtype(tensors, _config_of(context), terms.floats)
    return replace(context, dtype=chosen.dtype, dtype_from=chosen.source), problem


def _within(folder: Path, pipeline: PipelineFolder) -> str:
    """A part's folder, for messages: within that of the pipeline, where it lies there."""
    return str(folder.relative_to(pipeline.root) if folder.is_relative_to(pipeline.root) else folder)


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
