"""What a requirement says of a graph when an identity is not there: nothing that goes unfused may go uncounted.

    assert_counted_without(Site(weights=...).proto(), "nan.guard")

holds if `--require missed==0` is met with the identity, and is not met without it. What reads a spelling and is no
identity has a name here too, in `RULES`, and is switched off by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest import mock

from attnfuse.ir.graph import Model
from attnfuse.mindir.schema import ModelProto
from attnfuse.report.build import check_census, component_entry, count_sites, report, with_ids
from attnfuse.report.require import parse_requirement
from attnfuse.targets import RUNTIMES, Target
from attnfuse_passes.attention import chain, formula
from attnfuse_passes.attention.identities import contraction, product, registry
from attnfuse_passes.attention.restated import restate
from tests.support.fusing import fuse


def _never(of: object, name: str, answer: object = None) -> Callable[[], AbstractContextManager[Any]]:
    """The function always answers that."""
    return lambda: mock.patch.object(of, name, return_value=answer)


def _unread(*ops: str) -> Callable[[], AbstractContextManager[Any]]:
    """No product is read of these operators."""
    left = {op: reader for op, reader in product._READERS.items() if op not in ops}
    return lambda: mock.patch.dict(product._READERS, left, clear=True)


def _one_product() -> AbstractContextManager[Any]:
    """Weights that enter several products enter none that is read."""
    several = chain._products
    return mock.patch.object(chain, "_products", lambda *a: found if len(found := several(*a)) < 2 else [])


RULES: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "product.mm": _unread("Mm"),
    "product.linear": _unread("Dense"),
    "product.added": _unread("Baddbmm", "Addmm"),
    "product.einsum": _never(contraction, "_einsum"),
    "product.summed": _never(contraction, "_summed"),
    "weights.several_values": _one_product,
    "memory.cache": _never(formula, "is_cache", answer=False),
    "memory.frozen_input": _never(formula, "is_frozen_input", answer=False),
    "parts.joined_scores": _never(restate, "read_joined"),
    "parts.chunks": _never(restate, "read_chunks"),
    "parts.weighed_again": _never(restate, "read_reweighted"),
}
"""What reads a spelling and is no identity."""


@contextmanager
def switched_off(*names: str) -> Iterator[None]:
    """Identities and rules of these names are not read."""
    known = {identity.name for identity in registry.all_identities()} | RULES.keys()
    assert known.issuperset(names), f"{sorted(set(names) - known)} are no identities, nor rules"
    left = {op: [entry for entry in entries if entry.name not in names] for op, entries in registry._BY_OP.items()}
    with ExitStack() as off:
        off.enter_context(mock.patch.dict(registry._BY_OP, left))
        for name in RULES.keys() & set(names):
            off.enter_context(RULES[name]())
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
    """`--require missed==0` is met, and is not when identities or rules of these names are switched off, one by one."""
    for runtime in RUNTIMES:
        assert unmet(proto, runtime) is None
        for name in names:
            with switched_off(name):
                assert unmet(proto, runtime) is not None, f"{name} is gone, and nobody says so"
