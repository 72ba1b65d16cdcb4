"""From components to a tuning: the census of each by uniform policies, the search, and the policy that it ends in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context
from pathlib import Path

from attnfuse import compiler
from attnfuse.compiler import CompileRequest
from attnfuse.component import Component
from attnfuse.errors import InternalError, RequirementError, SourceError, TraceError
from attnfuse.incremental import Incremental
from attnfuse.ir.graph import Model
from attnfuse.pass_manager import Pass
from attnfuse.policy import Policy, SiteQuery, parse_policy
from attnfuse.progress import Progress
from attnfuse.report.units import human_seconds
from attnfuse.targets import Target
from attnfuse.tuning.choices import CHOICES, FORMULA, Assignment, Choice, said
from attnfuse.tuning.laboratory import Bench, Made, Rewriting
from attnfuse.tuning.result import Block, Fixed, Option, TunedComponent, Tuning, Uniform
from attnfuse.tuning.search import Found, search
from attnfuse.tuning.units import Group, Unit, groups_of, uniform, units_of
from attnfuse.verify import data_files

AS_COMPILED = "as compile decides by itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to tune by: the budget of the relative error, and the inputs, files of each component or drawn ones.

    Of `base` the rules stay: what they say of a site is not chosen."""

    target: Target
    passes: Sequence[Pass]
    budget: float
    seed: int
    data: Mapping[str, Sequence[Path]]
    known: Incremental
    work: Path
    tell: Callable[[str], None]
    progress: Progress
    base: Policy = field(default_factory=Policy)


def tune_source(
    request: CompileRequest,
    *,
    budget: float,
    seed: int,
    data: Path | None,
    tell: Callable[[str], None],
    progress: Progress,
) -> Tuning:
    """Tune what a compile would be asked for, on the inputs of `data`, an .npz file or a folder, or drawn ones.

    The request's policy stays. Raises as `tune` does and as a compile for the source, TraceError where a component
    cannot be traced.
    """
    with (
        tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as folder,
        compiler.loaded(request, Path(folder), progress) as source,
    ):
        work = Path(folder) / "values"
        work.mkdir()
        found = tune(
            source.components,
            Request(
                target=request.target,
                passes=source.passes,
                budget=budget,
                seed=seed,
                data={} if data is None else data_files(data, source.names),
                known=Incremental(request.cache, request.cache_key),
                work=work,
                tell=tell,
                progress=progress,
                base=request.policy,
            ),
        )
    if source.failed:
        name, reason = next(iter(source.failed.items()))
        raise TraceError(f"component {name} cannot be traced, and nothing was written: {reason}.")
    return found


def tune(components: Iterable[Component], request: Request) -> Tuning:
    """Tune each component.

    Raises RequirementError where no policy that was tried keeps the budget, with the least error that was reached;
    SourceError where there is no attention to choose for, or no time can be estimated; VerificationError where a graph
    cannot be run; UsageError and SourceError for files of inputs as verification does.
    """
    request.known.identify(request.passes)
    tuned: list[TunedComponent] = []
    without: list[str] = []
    sites: list[SiteQuery] = []
    for component in components:
        request.progress.stage(component.name, "tune")
        if request.data and not request.data.get(component.name):
            request.tell(f"warning: {component.name}: --data has no inputs for it; they are drawn")
        found = _tuned(component, request, sites)
        if found is None:
            without.append(component.name)
            request.tell(f"{component.name}: its attention, if it has any, is the same by any policy; nothing to tune")
        else:
            tuned.append(found)
    request.known.tidy()
    for rule in request.base.unmatched(sites):
        request.tell(f"warning: the policy's {rule.label} matches no site")
    if not tuned:
        names = ", ".join(without)
        raise SourceError(
            f"nothing to tune: {names} has no attention that one policy gives another form than the next; attnfuse "
            "inspect tells what there is, and why."
        )
    return Tuning(request.target, request.budget, request.seed, tuple(tuned), tuple(without), request.base)


def _tuned(component: Component, request: Request, sites: list[SiteQuery]) -> TunedComponent | None:
    """The component's tuning, None where it has no choice; `sites` are told what rules may ask of its own."""
    rewriting = Rewriting(component, request.target, request.passes, request.base)
    census = {choice: rewriting.by(Policy((choice.rule("*"),))) for choice in CHOICES}
    asked = ((record.module, record.facts) for record in census[FORMULA].sites)
    sites += [SiteQuery(component.asked_as, component.owner, *one) for one in asked]
    model = Model(component.parse())
    units = units_of(model, {choice: made.sites for choice, made in census.items()})
    groups = groups_of(units)
    if not groups:
        return None
    bench, inputs = Bench.open(
        rewriting, units, request.data.get(component.name, ()), request.seed, request.known, request.work, request.tell
    )
    found = search(bench, groups, _uniform(bench, units, census), request.budget)
    if found.best is None:
        raise RequirementError(_unreachable(component, found, request.budget))
    best = found.best
    request.tell(
        f"{component.name}: off by {best.error:.2e} in {human_seconds(best.seconds)}; {found.measured} graphs measured"
    )
    tuned = TunedComponent(
        name=component.asked_as,
        error=best.error,
        seconds=best.seconds,
        inputs=inputs.told,
        weights=bench.weights.count,
        drawn_weights=bench.weights.drawn,
        measured=found.measured,
        uniform=tuple(Uniform(name, trial.error, trial.seconds) for name, trial in found.uniform.items()),
        blocks=tuple(block for number, group in enumerate(groups) for block in _blocks(number, group, units, found)),
        fixed=_fixed(units),
    )
    _check(tuned, rewriting, bench, best.assignment, request)
    return tuned


def _uniform(bench: Bench, units: Sequence[Unit], census: Mapping[Choice, Made]) -> dict[str, Assignment]:
    """What uniform policies come to, by what they are called: one for each choice, the formula first, and what compile
    does by itself. Those that come to the same are one."""
    made = {choice.name: one for choice, one in census.items()}
    made[AS_COMPILED] = bench.rewriting.by(Policy())
    found: dict[Assignment, list[str]] = {}
    for name, one in made.items():
        assignment = uniform(units, one.sites)
        if assignment is not None:
            found.setdefault(assignment, []).append(name)
            bench.take(assignment, one)
    return {"; ".join(names): assignment for assignment, names in found.items()}


def _blocks(number: int, group: Group, units: Sequence[Unit], found: Found) -> list[Block]:
    """The units of a group by what they were given, in the order of CHOICES."""
    assert found.best is not None
    chosen: dict[Choice, list[Unit]] = {}
    for unit in group.units:
        chosen.setdefault(found.best.assignment[unit], []).append(units[unit])

    def option(choice: Choice) -> Option:
        form = said(units[group.units[0]].forms[choice])
        return Option(form, found.alone.get((number, choice)), found.saved.get((number, choice), 0.0))

    return [
        Block(
            settings=choice.settings,
            chosen=option(choice),
            others=tuple(option(other) for other in group.options if other != choice),
            modules=tuple(unit.module for unit in chosen[choice]),
            sites=tuple(site for unit in chosen[choice] for site in unit.sites),
            alike=len(group.units),
            facts=chosen[choice][0].facts,
        )
        for choice in CHOICES
        if choice in chosen
    ]


def _fixed(units: Sequence[Unit]) -> tuple[Fixed, ...]:
    found: dict[str, list[str]] = {}
    for unit in units:
        if len(unit.forms) == 1:
            (forms,) = unit.forms.values()
            found.setdefault(said(forms), []).append(unit.module)
    return tuple(Fixed(form, tuple(modules)) for form, modules in found.items())


def _unreachable(component: Component, found: Found, budget: float) -> str:
    least, formula = found.base.error, next(iter(found.uniform.values())).error
    name = next(name for name, trial in found.uniform.items() if trial is found.base)
    return (
        f"no policy keeps {component.name} within an error of {budget:g}: the least that can be reached is "
        f"{_at_least(least)} ({name} everywhere), and the source's own formula is off by {_at_least(formula)} in "
        "its own types; give a --budget of no less, or a source of another type."
    )


def _at_least(error: float) -> str:
    """Three digits of a number that is no less."""
    return f"{Context(prec=3, rounding=ROUND_CEILING).create_decimal(error):.2e}"


def _check(tuned: TunedComponent, rewriting: Rewriting, bench: Bench, best: Assignment, request: Request) -> None:
    """Raise InternalError where the written policy gives another graph than the one that was measured."""
    alone = Tuning(request.target, request.budget, request.seed, (tuned,), base=request.base)
    data = rewriting.by(parse_policy(alone.to_toml(), "policy.toml")).data
    if not bench.is_of(best, data):
        raise InternalError(
            f"component {tuned.name}: the policy that was written gives another graph than was measured."
        )
