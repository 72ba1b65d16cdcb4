"""Every identity's own examples: the effect it states is what its operator does; its counter-examples are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from attnfuse.ir.check import Sort, check_graph
from attnfuse.ir.text import TextError
from attnfuse_passes.attention.identities.registry import ALLOWED, Identity, SitePart, all_identities, read_back
from attnfuse_passes.attention.identities.steps import AddTerm, Convert, FillWhere, NanToZero, Same, Scale
from attnfuse_passes.testing import applied
from tests.support.programs import Program, parse

# The registry is filled by importing the package, which the line below also proves.
PEELERS = all_identities()
EXAMPLES = [pytest.param(p, text, id=f"{p.name}: {text}") for p in PEELERS for text in p.examples]
COUNTER_EXAMPLES = [pytest.param(p, text, id=f"{p.name}: {text}") for p in PEELERS for text in p.counter_examples]


def test_identities_are_registered() -> None:
    assert len(PEELERS) >= 15
    assert {op for p in PEELERS for op in p.ops} >= {"Muls", "Cast", "Transpose", "Tile", "Add", "Select"}


@pytest.mark.parametrize("identity", PEELERS, ids=lambda p: p.name)
def test_identity_has_both_kinds_of_examples(identity: Identity) -> None:
    assert identity.examples
    assert identity.counter_examples


@pytest.mark.parametrize("identity", PEELERS, ids=lambda p: p.name)
def test_examples_cover_every_operator(identity: Identity) -> None:
    assert set(identity.ops) == {parse(text).node.op for text in identity.examples}


@pytest.mark.parametrize(("identity", "text"), EXAMPLES)
def test_effect_is_what_the_operator_does(identity: Identity, text: str) -> None:
    program = parse(text)
    found = identity.rule(program.model, program.node)
    assert found is not None, "the rule refuses its own example"
    value, effect = found
    values = program.values()
    # Each side rounds up to four times more than the other: an exponential, a sum, a logarithm, a difference.
    rounding = 8 * float(np.finfo(np.float64).eps)
    np.testing.assert_allclose(applied(effect, values[value], values), values[program.node.name], rtol=rounding)


@pytest.mark.parametrize(("identity", "text"), COUNTER_EXAMPLES)
def test_counter_example_is_refused(identity: Identity, text: str) -> None:
    program = parse(text)
    assert program.node.op in identity.ops
    assert identity.rule(program.model, program.node) is None


@pytest.mark.parametrize(
    "text", [text for p in PEELERS for text in (*p.examples, *p.counter_examples) if " -> " in text]
)
def test_a_type_is_written_only_where_the_operator_table_gives_another_or_none(text: str) -> None:
    untyped = text.partition(" -> ")[0]
    try:
        inferred = parse(untyped)
    except TextError:
        return
    written = parse(text)
    assert inferred.model.type_of(inferred.node.name) != written.model.type_of(written.node.name)


def left_out(text: str) -> Iterator[Program]:
    """The node with fewer inputs, one after the other left out from the last, as far as its operator's row lets it."""
    program = parse(text)
    while program.node.inputs:
        program.node.inputs.pop()
        program.node.proto.input.pop()
        program.model.index()
        program = replace(program, node=next(n for n in program.model.nodes if n.name == program.node.name))
        if not any(finding.sort is Sort.TYPES for finding in check_graph(program.model)):
            yield program


def test_an_argument_that_is_left_out_is_no_accident() -> None:
    """A source is not refused for a missing number that has a default, nor for a missing monad."""
    tried = 0
    for identity in PEELERS:
        for program in (program for text in identity.examples for program in left_out(text)):
            identity.rule(program.model, program.node)  # it may refuse; it does not raise
            tried += 1
    assert tried > 5


CAST = next(p for p in PEELERS if p.name == "cast.float")


@pytest.mark.parametrize("text", CAST.examples)
def test_conversion_says_what_it_loses(text: str) -> None:
    """`wider` if and only if every value of the source type survives the way there and back."""
    program = parse(text)
    found = CAST.rule(program.model, program.node)
    assert found is not None
    value, effect = found
    tensor_type, output = program.model.type_of(value), program.model.type_of(program.node.name)
    assert tensor_type is not None
    assert output is not None
    if isinstance(effect, Same):
        assert tensor_type == output
        return
    assert isinstance(effect, Convert)
    assert (effect.source, effect.target) == (tensor_type.dtype, output.dtype)
    source, target = tensor_type.dtype.numpy, output.dtype.numpy
    largest = np.float64({"float16": 65504.0}.get(tensor_type.dtype.name, 3.3895313892515355e38))
    samples = np.array([1 / 3, 1 + 2.0**-7, 1 + 2.0**-10, 1 + 2.0**-20, 2.0**-14, largest]).astype(source)
    with np.errstate(over="ignore"):
        back = samples.astype(target).astype(source)
    assert effect.wider == bool((back == samples).all())


@pytest.mark.parametrize("place", SitePart)
def test_effects_are_read_back_only_where_the_identity_holds(place: SitePart) -> None:
    """At each place: what is not allowed there is not read back, what is allowed is."""
    for identity in PEELERS:
        for text in identity.examples:
            program = parse(text)
            found = identity.rule(program.model, program.node)
            assert found is not None
            step = read_back(program.model, program.node.name, place)
            assert step is None or isinstance(step.effect, ALLOWED[place])
            if isinstance(found[1], ALLOWED[place]):
                assert step is not None, (text, place)
                assert (step.node.name, step.input) == (program.node.name, found[0])
                own = f"{identity.name}: {identity.identity}"
                assert step.identity == own or _reads_too(step.identity, program, place)
            else:
                assert step is None or not step.identity.startswith(f"{identity.name}:"), (text, place)


def _reads_too(name: str, program: Program, place: SitePart) -> bool:
    """Whether another identity, which was asked first, reads the node there."""
    (other,) = (p for p in PEELERS if f"{p.name}: {p.identity}" == name)
    found = other.rule(program.model, program.node)
    return found is not None and isinstance(found[1], ALLOWED[place])


def test_no_factor_and_no_term_is_moved_past_the_softmax() -> None:
    """softmax(c·x) ≠ c·softmax(x), and softmax(x + b) ≠ softmax(x) + b."""
    for effect in (Scale, AddTerm, FillWhere):
        assert effect not in ALLOWED[SitePart.WEIGHTS]
        assert effect not in ALLOWED[SitePart.VALUE]
    assert AddTerm not in ALLOWED[SitePart.OPERAND]
    assert NanToZero not in ALLOWED[SitePart.SCORES]


def test_inputs_and_weights_are_not_read_back() -> None:
    program = parse("Muls(x: float32[2, 3], 0.5)")
    assert read_back(program.model, program.node.inputs[0], SitePart.SCORES) is None
