"""Puts the plans of one pipeline at several sizes together: what is of no size is traced once.

A component at the first size keeps its name. Where another size calls for another trace of it, that is a component
called `NAME_LABEL` (`unet_768x512`), which takes its weights from the files of the first (see
`attnfuse.shared_weights`).

Imports of this package what imports no MindSpore, and `attnfuse.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from attnfuse.errors import UsageError
from attnfuse.tracing.contract import ComponentPlan, Size, SizeFacts
from attnfuse.tracing.plan import Planned


def put_together(first: Planned, others: Sequence[tuple[Size, Planned]]) -> Planned:
    """All traces: those of the first size, each followed by those of the others that differ.

    Raises UsageError for a size that calls for no other trace than those before it, and for a name that would be given
    twice.
    """
    traces = {plan.name: {plan.name: plan} for plan in first.plans}
    failures = dict(first.failures)
    order = {name: [name] for name in first.order}
    facts = [_facts("", first.plans, {})]
    for size, planned in others:
        components: dict[str, str] = {}
        for plan in planned.plans:
            # One that fails at the first size has no weights to share, and none is called after it.
            base = plan.name if any(one.name == plan.name for one in first.plans) else ""
            made = traces.setdefault(plan.name, {})
            name = next((known for known, other in made.items() if replace(other, name=plan.name) == plan), None)
            if name is None:
                name = f"{plan.name}_{size.label}"
                _check_name(name, order)
                made[name] = replace(plan, name=name, base=base)
                order[plan.name].append(name)
            if name != plan.name:
                components[plan.name] = name
        for name, problem in planned.failures.items():
            if name not in first.failures:
                failures[f"{name}_{size.label}"] = problem
        if components in [dict(one.components) for one in facts]:
            raise UsageError(f"--size {size.label} calls for no graphs but those of a size before it; drop it.")
        facts.append(_facts(size.label, planned.plans, components))
    plans = [plan for made in traces.values() for plan in made.values()]
    names = tuple(name for called in order.values() for name in called)
    return replace(first, plans=tuple(plans), failures=failures, order=names, sizes=tuple(facts))


def _check_name(name: str, order: Mapping[str, Sequence[str]]) -> None:
    if any(name in called for called in order.values()):
        raise UsageError(f"two components would be called {name}; give the sizes in another way.")


def _facts(label: str, plans: Sequence[ComponentPlan], components: Mapping[str, str]) -> SizeFacts:
    sizes = next((plan.sizes for plan in plans if plan.sizes), {})
    height, width, frames, batch = (sizes.get(name) for name in ("height", "width", "frames", "batch"))
    return SizeFacts(label, height, width, frames, batch, components)
