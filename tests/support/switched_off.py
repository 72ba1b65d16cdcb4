"""What a requirement says of a graph when an identity is not there: nothing that goes unfused may go uncounted.

    assert_counted_without(Site(weights=...).proto(), "nan.guard")

holds if `--require missed==0` is met with the identity, and is not met without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from attnfuse.ir.graph import Model
from attnfuse.mindir.schema import ModelProto
from attnfuse.report.build import check_census, component_entry, count_sites, report, with_ids
from attnfuse.report.require import parse_requirement
from attnfuse.targets import RUNTIMES, Target
from attnfuse_passes.attention.identities import registry
from tests.support.fusing import fuse


@contextmanager
def switched_off(*names: str) -> Iterator[None]:
    """Identities of these names are not read."""
    known = {identity.name for identity in registry.all_identities()}
    assert known.issuperset(names), f"{sorted(set(names) - known)} are no identities"
    left = {op: [entry for entry in entries if entry.name not in names] for op, entries in registry._BY_OP.items()}
    with mock.patch.dict(registry._BY_OP, left):
        yield


def unmet(proto: ModelProto, runtime: str, requirement: str = "missed==0") -> str | None:
    """Why the requirement does not hold for a compile of the graph; None where it does."""
    model = Model(ModelProto.FromString(proto.SerializeToString()))
    counted = count_sites(model)
    sites = with_ids("graph", fuse(model, runtime))
    check_census("graph", counted, sites)
    found = report(Target(runtime, "ascend910b"), [component_entry("graph", len(model.nodes), sites)], [])
    return parse_requirement(requirement).unmet(found)


def assert_counted_without(proto: ModelProto, *names: str) -> None:
    """`--require missed==0` is met, and is not when identities of these names are switched off, one by one."""
    for runtime in RUNTIMES:
        assert unmet(proto, runtime) is None
        for name in names:
            with switched_off(name):
                assert unmet(proto, runtime) is not None, f"{name} is gone, and nobody says so"
