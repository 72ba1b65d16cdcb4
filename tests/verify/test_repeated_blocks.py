"""Mistakes in one of several equal blocks, in a constant of one, and where one step of a run hands on to the next.

Run as large graphs are: by steps, by rows, in the next finer types where these decide, and sampled too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.types import Literal
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import NodeProto
from attnfuse.verify import ComponentVerification, Level, verify_component
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.limits import Limits, limited
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers import finer
from attnfuse.verify.numbers.planning import steps
from tests.support.fusing import fuse
from tests.support.graphs import fill_literal, transformer

BLOCKS = 6
SCALE = 13
SMALL = Limits(weights=1, large=1, rows=2**12)


@pytest.fixture(autouse=True)
def as_large_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(inferred_types, "infer", lambda model, name, work: inferred_types.Inference((), 0, "not run"))
    monkeypatch.setattr(finer, "LARGE", 0)
    with limited(SMALL):
        yield


def blocks() -> tuple[Model, Model]:
    """Self and cross attention in turn, three of each, and their rewrite."""
    original, fused = (transformer(sites=BLOCKS, size=16, dtype=FLOAT16).model() for _ in range(2))
    assert len(fuse(fused, "lite")) == BLOCKS
    return original, Model(codec.parse(codec.serialise(fused.proto), "the rewritten blocks"))


def verify(original: Model, fused: Model, folder: Path, level: Level = "full") -> ComponentVerification:
    files = folder / "original.mindir", folder / "fused.mindir"
    for file, model in zip(files, (original, fused), strict=True):
        file.write_bytes(codec.serialise(model.proto))
    return verify_component(name="blocks", original=files[0], fused=files[1], level=level, seed=0, work=folder)


def attention(fused: Model, number: int) -> Node:
    return [node for node in fused.nodes if node.op == "PromptFlashAttention"][number]


def feed(fused: Model, node: Node, position: int, value: Literal) -> None:
    """Give one node a constant of its own."""
    constant = NodeProto(name="planted", op_type="Constant", output=["planted"])
    fill_literal(constant.attribute.add(name="value"), value)
    fused.proto.graph.node.insert(0, constant)
    node.proto.input[position] = "planted"


@pytest.mark.parametrize("level", ["sampled", "full"])
def test_sound_blocks_pass_and_float64_is_not_asked(
    level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided: list[bool] = []
    decides = finer.decides

    def told(models: Iterable[Model], outputs: Iterable[finer.Evidence]) -> bool:
        decided.append(decides(models, outputs))
        return decided[-1]

    monkeypatch.setattr(finer, "decides", told)
    result = verify(*blocks(), tmp_path, level)
    assert result.findings == ()
    assert all(decided)
    assert len(decided) == 1 + (BLOCKS if level == "full" else 2)
    assert len(result.sites) == (BLOCKS if level == "full" else 2)
    assert any(note.startswith("sampled: 2 of 6 sites") for note in result.notes) is (level == "sampled")


@pytest.mark.parametrize(("number", "level"), [(0, "full"), (3, "sampled"), (5, "full")])
def test_a_mistake_in_a_constant_of_one_block(number: int, level: Level, tmp_path: Path) -> None:
    original, fused = blocks()
    feed(fused, attention(fused, number), SCALE, 0.25 * 1.0003)
    result = verify(original, Model(fused.proto), tmp_path, level)
    assert any("drawn operands" in finding for finding in result.findings)
    assert len({finding.split()[1] for finding in result.findings if finding.startswith("site ")}) == 1


def test_a_mistake_in_one_block(tmp_path: Path) -> None:
    original, fused = blocks()
    node = attention(fused, 4).proto
    node.input[1], node.input[2] = node.input[2], node.input[1]
    result = verify(original, Model(fused.proto), tmp_path)
    assert any("the mathematics is another" in finding for finding in result.findings)


def test_a_weight_of_another_block(tmp_path: Path) -> None:
    """Its type is that of the right one, and so is all that is done with it."""
    original, fused = blocks()
    weights = [p.name for p in fused.parameters() if p.name.endswith("attn1.to_k.weight")]
    for use in fused.uses(weights[1]):
        assert use.node is not None
        use.node.proto.input[use.position] = weights[0]
    assert verify(original, Model(fused.proto), tmp_path, "sampled").findings


def test_a_mistake_at_the_border_of_two_steps(tmp_path: Path) -> None:
    """A node reads what another step handed on, of the same type, in place of what it should."""
    original, fused = blocks()
    parts = steps(lower(fused, Arithmetic.NATIVE))
    assert len(parts) > 4 * BLOCKS
    sums = [node for node in fused.nodes if node.op == "Add" and len(set(node.inputs)) > 1]
    late, early = sums[-1].proto, sums[0].name
    late.input[0] = early
    result = verify(original, Model(fused.proto), tmp_path)
    assert any(finding.startswith("output ") for finding in result.findings)


def test_a_difference_that_finer_types_do_not_show_is_asked_of_float64() -> None:
    """Less than half of what is allowed decides, and more does not, whatever it then is."""
    model = transformer(sites=1, dtype=FLOAT16).model()
    fine = finer.Evidence(apart=1e-6, allowed=8e-6, own=1e-3, elements=4096, finite=True)
    assert finer.decides([model], [fine])
    for worse in (
        {"apart": 5e-6},
        {"apart": np.nan},
        {"own": 5e-3},
        {"own": 1e-5},
        {"elements": 100},
        {"finite": False},
    ):
        values = {name: getattr(fine, name) for name in fine.__slots__} | worse
        assert not finer.decides([model], [fine, finer.Evidence(**values)]), worse
