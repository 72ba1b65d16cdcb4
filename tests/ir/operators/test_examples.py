"""The examples of every row: against the row's own inference, and against MindSpore's in one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from attnfuse.ir.check import check_graph
from attnfuse.ir.operators.arguments import TypeMismatch
from attnfuse.ir.operators.row import CANN, NEWER, OTHER
from attnfuse.ir.operators.table import OPERATORS
from attnfuse.ir.types import TensorType
from attnfuse.ir.values import Values
from attnfuse.mindir.dtypes import FLOAT32
from tests.support.mindspore_inference import Answer, ask
from tests.support.operator_examples import Example, parse_example, together

EXAMPLES = [parse_example(text) for row in OPERATORS.values() for text in row.examples]
INFERRED = [example for example in EXAMPLES if not example.refused]
REFUSED = [example for example in EXAMPLES if example.refused]

NO_GRAPH = {"Switch", "Partial", "UpdateState", "Generator"}
"""Functions, monads and a state of two tensors cannot be inputs of a graph that MindSpore is asked about."""
NOT_INFERRED = {"Custom", "View"}
"""MindSpore 2.7.1 refuses to infer them outside the program that defines them."""
ANOTHER = TensorType((7, 5, 3), FLOAT32)
"""What nodes declare when MindSpore is asked: it gives this back where it has no inference of its own."""


def test_every_row_has_an_example_of_its_own() -> None:
    assert {example.op for example in INFERRED} == set(OPERATORS)
    assert all(parse_example(text).op == row.name for row in OPERATORS.values() for text in row.examples)


@pytest.mark.parametrize("example", INFERRED, ids=str)
def test_inferred(example: Example) -> None:
    model, node = example.model()
    assert Values(model).infer(node) == example.value_type
    assert check_graph(model) == []


@pytest.mark.parametrize(
    "text",
    [
        "Select(c: bool[2, 1], x: float16[3], 1.0) -> float16[2, 3]",
        "Select(c: bool[2, 1], 0, x: int32[3]) -> int32[2, 3]",
        "Select(c: bool[2, 1], 0, 1) -> unknown",
        "MaskedFill(x: float16[2, 3], m: bool[2, 3], -1.5) -> float16[2, 3]",
        (
            "LayerNormExt(x: float16[2, 3, 4], (4,), None, None, 1e-5)"
            " -> (float16[2, 3, 4], float32[2, 3, 1], float32[2, 3, 1])"
        ),
    ],
)
def test_forms_of_a_newer_mindspore(text: str) -> None:
    """MindSpore 2.10 writes these; 2.7.1 refuses to infer them."""
    model, node = parse_example(text).model()
    assert Values(model).infer(node) == parse_example(text).value_type


@pytest.mark.parametrize(
    "text",
    [
        "MatMul(x: float16[4, 8], y: float16[3, 8]; transpose_a=False, transpose_b=True) -> float16[4, 3]",
        (
            "MatMul(x: float16[4, 8], y: float16[8, 3], b: float16[3]; transpose_a=False, transpose_b=False)"
            " -> float16[4, 3]"
        ),
        (
            "PromptFlashAttention(q: float16[2, 4, 8, 16], k: float16[2, 4, 6, 16], v: float16[2, 4, 6, 16], None;"
            ' num_heads=4, scale_value=0.25, pre_tokens=99, next_tokens=99, input_layout="BNSD_BSND",'
            " num_key_value_heads=0, sparse_mode=0, inner_precise=1) -> float16[2, 8, 4, 16]"
        ),
        (
            "LayerNormV3(x: float16[2, 4], g: float32[4], b: float32[4]; begin_norm_axis=1, begin_params_axis=1,"
            " epsilon=1e-5) -> (float16[2, 4], float32[2, 1], float32[2, 1])"
        ),
    ],
)
def test_forms_that_only_lite_takes(text: str) -> None:
    """Primitives with attributes in place of arguments, and CANN's layouts: they arrive in CANN's graph as written."""
    model, node = parse_example(text).model()
    assert Values(model).infer(node) == parse_example(text).value_type


@pytest.mark.parametrize("example", REFUSED, ids=str)
def test_refused(example: Example) -> None:
    model, node = example.model()
    with pytest.raises(TypeMismatch) as caught:
        Values(model).infer(node)
    told = [(finding.node, finding.sentence) for finding in check_graph(model)]
    assert (node.name, str(caught.value)) in told


def _is_known(example: Example) -> bool:
    """Whether MindSpore 2.7.1 has an inference of its own for the operator."""
    return OPERATORS[example.op].source not in (CANN, NEWER, OTHER) and example.op not in NO_GRAPH | NOT_INFERRED


HELD = [example for example in INFERRED if _is_known(example)]
HELD_REFUSED = [example for example in REFUSED if _is_known(example)]
NOT_HELD = [example for example in INFERRED if not _is_known(example) and example.op not in NO_GRAPH | NOT_INFERRED]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Answer]:
    """What MindSpore makes of all that it infers, and of what it does not."""
    graphs = {"held": together(HELD, ANOTHER), "not held": together(NOT_HELD, ANOTHER)}
    return ask(graphs, tmp_path_factory.mktemp("examples"))


@pytest.mark.mindspore
def test_mindspore_infers_the_same(answers: Mapping[str, Answer]) -> None:
    answer = answers["held"]
    assert answer.error is None
    assert isinstance(answer.value_type, tuple)
    assert len(HELD) > 400
    inferred = zip(HELD, answer.value_type, strict=True)
    assert {example.text: value_type for example, value_type in inferred if value_type != example.value_type} == {}


@pytest.mark.mindspore
def test_mindspore_infers_none_of_the_others(answers: Mapping[str, Answer]) -> None:
    """Once it does, their rows are to be held to it."""
    assert answers["not held"].value_type == (ANOTHER,) * len(NOT_HELD)


@pytest.mark.slow
@pytest.mark.mindspore
def test_mindspore_refuses_the_same(tmp_path: Path) -> None:
    assert len(HELD_REFUSED) > 90
    answers = ask({example.text: example.model(ANOTHER)[0] for example in HELD_REFUSED}, tmp_path)
    assert [text for text, answer in answers.items() if answer.error is None] == []
