"""Write the pages that are made from code and data: codes, components, identities, targets, and the reference.

Usage: python tools/docs.py [FOLDER]; FOLDER is where to write, by default docs/. A test holds docs/ to this output.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from attnfuse.codes import CODES, NODE_CODES
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.operators.table import OPERATORS as ROWS
from attnfuse.targets.attention import LAUNCH_LIMITS, TILING, LaunchLimits
from attnfuse.targets.flash_attention_score import LIMITS as SCORE_LIMITS
from attnfuse.targets.flash_attention_score import SOURCE, ScoreLimits
from attnfuse.targets.ge import tables
from attnfuse.targets.limits import FLOATS, OLDEST_MINDSPORE, SOCS_OF, Target
from attnfuse.targets.nodes import judged_by
from attnfuse.targets.operators import GE_FOLDER, LITE_FOLDER, OPERATORS, REFUSED, Operator
from attnfuse.tracing.specs import FAMILIES, SPECS
from attnfuse.tracing.specs.context import CLASSIFIER_FREE
from attnfuse.tracing.specs.record import FixedSetting, Input, PipelineFamily
from attnfuse_passes.attention.identities.registry import all_identities
from attnfuse_passes.legalise.legalise import FAMILIES as RULE_FAMILIES
from attnfuse_passes.legalise.rules import RULES
from tools import reference
from tools.reference import MADE, table

DOCS = Path(__file__).resolve().parent.parent / "docs"


def codes() -> str:
    """Every code a site can carry, and every one of a node that MindSpore Lite does not take."""
    rows = ((f"`{c.code}`", "" if c.stage is None else c.stage.name.lower(), c.meaning, c.hint) for c in CODES.values())
    lines = [
        "# Codes of sites",
        "",
        MADE,
        "",
        "Every site of a report carries one of these. The stage says how far it got: anchor (is it attention at all),",
        "structure, facts, safety, then the policy's and the target's word.",
        "",
        *table(("code", "stage", "meaning", "what would make it match"), rows),
        "",
        "## Codes of nodes",
        "",
        "Of nodes of a result for MindSpore Lite: `unsupported` of a report has those that keep it from being",
        "deployed, with those above that begin with `target.`, `without_kernel` those that begin with `kernel.`.",
        "",
        *table(("code", "meaning"), ((f"`{c.code}`", c.meaning) for c in NODE_CODES.values())),
    ]
    return "\n".join(lines) + "\n"


def identities() -> str:
    """Every identity, with what it reads and what it refuses."""
    lines = ["# Identities", "", MADE, "", "What the matcher can read, one by one.", ""]
    for entry in all_identities():
        lines += [f"## {entry.name}", "", f"`{entry.identity}`, on {', '.join(entry.ops)}", ""]
        lines += ["reads", "", *(f"- `{program}`" for program in entry.examples), ""]
        lines += ["refuses", "", *(f"- `{program}`" for program in entry.counter_examples), ""]
    return "\n".join(lines).rstrip() + "\n"


def targets() -> str:
    """The limits of the two fused operators on each SoC, and the operators MindSpore Lite takes and does not take."""
    refused = ((f"`{row.name}`", row.why, row.instead) for row in REFUSED.values())
    lines = [
        "# Targets",
        "",
        MADE,
        "",
        "Nothing was run on a device. Where a SoC does not have the operator the formula stays; so it does in a graph",
        f"of a MindSpore before {'.'.join(map(str, OLDEST_MINDSPORE))}, and of a node that is refused. `refusals`",
        "(`attnfuse/targets/fused.py`) is asked about every fused node as it would be written, before it is.",
        "",
        *table(("operator", "SoCs"), ((f"`{node}`", ", ".join(socs)) for node, socs in SOCS_OF.items())),
        "",
        *_deployable(),
        *_launch_limits(),
        "## Types",
        "",
        "What each SoC computes in, of what a component can be traced in; anything else is refused before tracing, and",
        "a graph that holds it is not deployable. `attnfuse/targets/limits.py` names the source.",
        "",
        *table(("SoC", "types"), ((soc, ", ".join(names)) for soc, names in FLOATS.items())),
        "",
        "## Operators that MindSpore Lite takes",
        "",
        "From MindIR, on Ascend, within the limits beside each; `attnfuse/targets/operators.py` says what they mean.",
        "Arguments are named as MindSpore names them.",
        "Read in the sources of MindSpore Lite (July 2025) and MindSpore 2.7.0, not run.",
        f"GE adapters are in `{GE_FOLDER}`,",
        f"Lite's passes in `{LITE_FOLDER}`. Whether CANN has a kernel for a type on a SoC is not part of it.",
        "",
        *table(("operator", "taken by", "source", "limits", "note"), map(_operator, OPERATORS.values())),
        "",
        "## Operators that it does not take",
        "",
        "Or only in a way not to be relied on. attnfuse writes them otherwise where it can prove that it may.",
        "",
        *table(("operator", "why", "what says the same"), refused),
        "",
        *_without_rule(),
    ]
    return "\n".join(lines) + "\n"


def _deployable() -> Iterator[str]:
    """What the word means, by which versions, and what becomes of types."""
    yield from (
        "## Deployable",
        "",
        "A result for MindSpore Lite is called deployable where each of its nodes passes `deployment_refusals`",
        "(`attnfuse/targets/nodes.py`): its operator has an adapter and is in a form that arrives whole, every input",
        "and attribute that CANN requires is reached by a value of the right kind, results are declared and read as",
        "the operator has them, each element type is listed, and fused attention and composites are what CANN's",
        "tiling takes. What is refused is in the report's `unsupported`, with node, reason and a code of",
        "`docs/codes.md`. A",
        "kernel that is missing (a cast by the engine, the AI CPU) is in `without_kernel` and keeps nothing from being",
        "deployed. No list of the kernels of ascend910 was read: for it nothing is said of them, and no composite is",
        "written. A rank-4 BiasAdd loses its format: it stays only where CANN takes it into the Conv2D before it.",
        "",
        "Report and manifest say under `judged_by` which versions the tables were taken from:",
        "",
        *table(("what", "taken from"), judged_by(Target("lite", "ascend910b")).items()),
        "",
        "Types in the converted model: an int64 input of the graph is int32 there (the manifest's `converted_dtype`),",
        "so feed what `get_inputs()[i].dtype` says. Python's `mindspore_lite.Converter` makes float16 inputs float32,",
        "up to the first of int64, unless",
        "`input_data_type = mindspore_lite.DataType.UNKNOWN` is set; the program converter_lite leaves them. Without a",
        "configuration (`precision_mode=enforce_origin`) the default force_fp16 computes float32 and bfloat16",
        "in float16.",
        "",
    )


def _launch_limits() -> Iterator[str]:
    """What CANN's tiling takes of PromptFlashAttention, and MindSpore of FlashAttentionScore."""
    limits = LAUNCH_LIMITS.values()
    rows = ((name.replace("_", " "), *(_cell(getattr(row, name)) for row in limits)) for name in _fields(LaunchLimits))
    scores = ((name.replace("_", " "), _cell(getattr(SCORE_LIMITS, name))) for name in _fields(ScoreLimits))
    yield from (
        "## PromptFlashAttention, as a device launches it",
        "",
        f"As {TILING}, has it: run on x86-64, no device. What each limit means",
        "is said in `attnfuse/targets/attention.py`; the rules of composite operators are in `composites.py`.",
        "Kernels by type and SoC, prototypes and adapters are in `attnfuse/targets/data/ge_operators.json`, taken from",
        "; ".join(tables().sources.values()) + ".",
        "",
        *table(("limit", *LAUNCH_LIMITS), rows),
        "",
        "## FlashAttentionScore",
        "",
        f"Read in {SOURCE}; one for all SoCs that have it.",
        "",
        *table(("limit", "value"), scores),
        "",
    )


def _fields(kind: type[LaunchLimits | ScoreLimits]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _without_rule() -> Iterator[str]:
    """Operators whose meaning is known and that neither MindSpore Lite nor a rule takes."""
    assert RULE_FAMILIES  # importing them is what filled the registry
    handled = OPERATORS.keys() | RULES.keys()
    names = sorted(name for name, row in ROWS.items() if name not in handled and row.role is not Role.FUSED_ATTENTION)
    yield from (
        "## Operators without a rule",
        "",
        "These are in the operator table (`attnfuse/ir/operators/`), MindSpore Lite is not known to take them, and no",
        "rule in `passes/attnfuse_passes/legalise/` writes them with others. A result that has one is not deployable:",
        "",
        *textwrap.wrap(", ".join(f"`{name}`" for name in names) + ".", 120),
    )


def _operator(row: Operator) -> tuple[str, ...]:
    source = row.source.removeprefix(GE_FOLDER + "/").removeprefix(LITE_FOLDER + "/")
    return f"`{row.name}`", row.accepted_by, f"`{source}`", "; ".join(map(str, row.limits)), row.note


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def components() -> str:
    """Every family of pipelines, and every model class with what it is called with."""
    lines = ["# Components", "", MADE, "", *_COMPONENTS_HEAD, "", _counts(), "", "## Pipelines", ""]
    for family in FAMILIES:
        lines += [f"**{family.name}**: {', '.join(f'`{name}`' for name in family.pipelines)}", "", _sizes(family), ""]
    for spec in SPECS:
        names = ", ".join(f"`{spec.component.format(model=model)}`" for model in spec.models)
        where = ", ".join(family.name for family in spec.families)
        lines += [f"## {spec.class_name}: {names}", ""]
        lines += [f"In {where}. As called in `{spec.source}`.", ""]
        if spec.broken:
            lines += [f"Cannot be traced: {spec.broken}.", ""]
            continue
        lines += table(("input", "shape", "type", "only where, and what"), (_input_row(i) for i in spec.inputs))
        notes = [f"gives {', '.join(f'`{output.name}`' for output in spec.outputs)}"]
        notes += [f"refused unless {r.option} is {' or '.join(map(repr, r.allowed))}" for r in spec.refuse]
        notes += [f"fixed in the graph: {_told(one)}" for one in spec.fixed_settings]
        if spec.patches:
            notes.append(f"traced with the patch {', '.join(spec.patches)} (`attnfuse/tracing/patches/`)")
        lines += ["", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines).rstrip() + "\n"


_COMPONENTS_HEAD = (
    "What attnfuse traces the models of a mindone pipeline with. `attnfuse components SOURCE` lists it for one, in",
    "numbers. A name in a shape is a size of the family (rows of the batch, latents, tokens), or else a number of the",
    "model's own config.json. The type *float* is the one the component is traced in; *timestep* is float32 or int64,",
    "as the pipeline's scheduler has it. A single model, outside of a pipeline, is taken for one of the first family",
    "named. The files that are mirrored are those of mindone 0.5.0 below mindone/diffusers/pipelines/.",
    "",
    "What a pipeline may set at run time and a graph has fixed is listed for each component by `attnfuse components`,",
    "in report.json and in manifest.json, as a list of name, value and meaning. Beside what is named below, that is",
    "`guidance_rows`, 2 where both halves of classifier-free guidance are rows of one batch; `timestep_dtype`, where",
    "the scheduler says it or, with none, int64 is assumed; and what the table fixes as arguments of the call.",
)


def _sizes(family: PipelineFamily) -> str:
    """How a family sizes things; what it has of its base is not told again."""
    told = [" ".join(inspect.cleandoc(family.sizes.__doc__ or "").split())]
    if family.base is not None:
        told = [f"As **{family.base.name}**."] + (told if family.sizes is not family.base.sizes else [])
    if family.guidance != CLASSIFIER_FREE:
        told.append(f"Rows of an image: {'; '.join(family.guidance.guided)}.")
        told.append(f"Without classifier-free guidance: {'; '.join(family.guidance.alone)}.")
    return " ".join(told)


def _counts() -> str:
    """How much is known."""
    pipelines = [name for family in FAMILIES for name in family.pipelines]
    classes = {spec.class_name for spec in SPECS}
    partly = [name for family in FAMILIES if _is_broken(family) for name in family.pipelines]
    return (
        f"Known are {len(pipelines)} pipelines of {len(FAMILIES)} families, {len(classes)} classes of their parts, and"
        f" {len(SPECS)} uses of these: each entry below is one. Of {len(partly)} pipelines a part cannot be traced, as"
        f" its entry says: {', '.join(f'`{name}`' for name in partly)}. The {len(pipelines) - len(partly)} others are"
        " whole."
    )


def _is_broken(family: PipelineFamily) -> bool:
    """Whether a part of such a pipeline cannot be traced, and there is no other class for it."""
    own = [spec for spec in SPECS if family in spec.families]
    traced = {(model, spec.component) for spec in own if not spec.broken for model in spec.models}
    return any((model, spec.component) not in traced for spec in own if spec.broken for model in spec.models)


def _told(one: FixedSetting) -> str:
    value = "none" if one.value is None else f"`{json.dumps(one.value)}`"
    return f"`{one.name}`, {value}{f' where {one.only}' if one.only else ''}: {one.meaning}"


def _input_row(entry: Input) -> tuple[str, str, str, str]:
    shape = " × ".join(str(size) for size in entry.shape)
    return f"`{entry.name}`", shape, entry.dtype, "; ".join(filter(None, (entry.only, entry.note)))


def write(folder: Path) -> None:
    """Write all made documents into `folder`."""
    made = {
        "api": reference.python,
        "cli": reference.command_line,
        "codes": codes,
        "components": components,
        "documents": reference.documents,
        "identities": identities,
        "slow-tests": reference.slow_tests,
        "targets": targets,
    }
    for name, document in made.items():
        (folder / f"{name}.md").write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
