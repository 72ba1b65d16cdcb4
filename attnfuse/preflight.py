"""What can be refused before anything is traced: types that the SoC does not compute in.

A trace takes minutes, and the graph that comes of it would run nowhere. Free of protobuf, for it is asked beside
MindSpore too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attnfuse.errors import PolicyError, UsageError
from attnfuse.policy import Policy, Rule
from attnfuse.targets import Target
from attnfuse.tracing.contract import ComponentPlan


@dataclass(frozen=True, slots=True)
class ComponentTypes:
    """A component before it is there: the pipeline's attribute it is made from, and the types of its plan.

    `dtype` is what its parameters are held in, `inputs` are the types of what it is called with, by name. None and
    none where the graph is there already, and what it is of is not asked.
    """

    owner: str
    dtype: str | None = None
    inputs: Mapping[str, str] | None = None


def types_of(plan: ComponentPlan) -> ComponentTypes:
    """What a plan says of its component."""
    return ComponentTypes(plan.model, plan.dtype, {spec.name: spec.dtype for spec in plan.inputs})


def check_asked(target: Target, dtype: str | None) -> None:
    """Raise UsageError where the type that the user asks for is not on the SoC."""
    if dtype is not None and target.lacks(dtype):
        raise UsageError(f"{target.missing_type(dtype)}: trace in {_others(target)} instead of --dtype {dtype}.")


def check_components(target: Target, components: Mapping[str, ComponentTypes], cure: str = "give --dtype") -> None:
    """Raise UsageError where a component would be held in a type, or called with one, that is not on the SoC.

    `cure` is what is to be done, in words that the types follow.
    """
    for name, types in components.items():
        if types.dtype is not None and target.lacks(types.dtype):
            missing = target.missing_type(types.dtype)
            raise UsageError(f"{missing}, which component {name} has: {cure} {_others(target)}.")
        for given, dtype in (types.inputs or {}).items():
            if target.lacks(dtype):
                raise UsageError(
                    f"{target.missing_type(dtype)}, and component {name} would be called with {given} in it: hand it "
                    f"over in {_others(target)}."
                )


def check_policy(target: Target, policy: Policy, components: Mapping[str, ComponentTypes]) -> None:
    """Raise PolicyError for a rule that has attention cast to a type which is not on the SoC.

    A rule that cannot come to bear is no reason: one that no component fits, one for sites that nothing is cast in,
    one that a later rule for everything takes back. Of what was found on a live pipeline nobody may have thought: such
    a rule (`expected` false) bears where a component is held in what is cast at all.
    """
    for at, rule in enumerate(policy.rules):
        cast = rule.force_cast_dtype
        if cast is None or not target.lacks(cast) or rule.dtype in ("float16", "bfloat16"):
            continue
        if any(_sets_all(later) for later in policy.rules[at + 1 :]):
            continue
        if any(_bears(rule, name, types) for name, types in components.items()):
            raise PolicyError(
                f"{target.missing_type(cast)}, and the policy's {rule.label} has attention cast to it: ask for "
                f"{_others(target, but='float32')}, or for none."
            )


def _sets_all(rule: Rule) -> bool:
    return rule.match == "*" and not rule.selects and rule.force_cast_dtype is not None


def _bears(rule: Rule, name: str, types: ComponentTypes) -> bool:
    if rule.from_pipeline and types.dtype not in (None, "float32"):
        return False
    return any(rule.may_match(called) for called in (name, types.owner))


def _others(target: Target, but: str = "") -> str:
    return " or ".join(name for name in target.floats if name != but)
