"""Options of passes: read from text and from TOML, held to their types, told where they are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from attnfuse.errors import PolicyError
from attnfuse.pass_options import configured, values
from attnfuse.policy import command_line_options, parse_policy


@dataclass(frozen=True)
class Step:
    """A pass as far as its options go."""

    count: Annotated[int, Field(ge=1)] = 3
    tolerance: float = 1e-3
    deep: bool = False
    skip: tuple[str, ...] = ()
    form: Literal["plain", "packed"] = "plain"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.deep and self.form == "packed":
            raise ValueError("step.deep and step.form=packed exclude each other.")


@dataclass(frozen=True)
class Bare:
    """A pass without options."""


STEPS: dict[str, Any] = {"step": Step(), "bare": Bare()}


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("count=4", "count", 4),
        ("tolerance=1e-5", "tolerance", 1e-5),
        ("tolerance=1", "tolerance", 1.0),
        ("deep=true", "deep", True),
        ('skip=["a", "b"]', "skip", ("a", "b")),
        ("form=packed", "form", "packed"),
        ("limit=7", "limit", 7),
        ("limit=null", "limit", None),
    ],
)
def test_a_value_on_the_command_line(text: str, option: str, value: object) -> None:
    step, bare = configured(STEPS, command_line_options([f"step.{text}"]))
    assert getattr(step, option) == value
    assert type(getattr(step, option)) is type(value)
    assert bare == Bare()


@pytest.mark.parametrize(
    ("toml", "wanted"),
    [
        ('skip = ["a"]\ncount = 9', Step(skip=("a",), count=9)),
        ("tolerance = 2", Step(tolerance=2.0)),
        ('form = "packed"', Step(form="packed")),
    ],
)
def test_a_value_in_a_policy_file(toml: str, wanted: Step) -> None:
    policy = parse_policy(f"[pass.step]\n{toml}\n", "p.toml")
    assert not policy.rules
    assert configured(STEPS, policy.options)[0] == wanted


def test_the_command_line_comes_after_the_file() -> None:
    policy = parse_policy("[pass.step]\ncount = 5\ndeep = true\n", "p.toml")
    both = policy.and_then((), command_line_options(["step.count=6", "step.count=7"]))
    assert configured(STEPS, both.options)[0] == Step(count=7, deep=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stop.count=1", "--pass stop.count=1: there is no pass 'stop'; did you mean 'step'? Known: step, bare."),
        (
            "step.cont=1",
            "--pass step.cont=1: the pass 'step' has no option 'cont'; did you mean 'count'?",
        ),
        ("bare.count=1", "--pass bare.count=1: the pass 'bare' has no options."),
        ("step.count=0", "the option step.count is '0'; input should be greater than or equal to 1."),
        ("step.count=many", "the option step.count is 'many'; input should be a valid integer"),
        ("step.form=pack", "the option step.form is 'pack'; did you mean 'packed'? Known: plain, packed."),
        ("step.skip=[1]", "the option step.skip is '[1]'; input should be a valid string."),
        ("step.count", "--pass step.count is not written NAME.OPTION=VALUE; attnfuse passes lists"),
        ("count=3", "--pass count=3 is not written NAME.OPTION=VALUE"),
    ],
)
def test_what_is_wrong_on_the_command_line(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        configured(STEPS, command_line_options([text]))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            '[pass.step]\ncount = "4"',
            "[pass.step]: the option step.count is '4'; input should be a valid integer",
        ),
        ("[pass.step]\ndeep = 1", "p.toml [pass.step]: the option step.deep is 1; input should be a valid boolean"),
        ("[pass.stop]\ndeep = true", "p.toml [pass.stop]: there is no pass 'stop'; did you mean 'step'"),
        ("[pass.step]\ncount = 2020-01-01", "p.toml: pass.step.count is datetime.date(2020, 1, 1); input was not"),
        ("[pass]\nstep = 1", "p.toml: pass.step is 1; input should be a valid dictionary"),
        ("[pas.step]\ncount = 1", "p.toml: a policy has no key 'pas'; did you mean 'pass'"),
        (
            '[pass.step]\ndeep = true\nform = "packed"',
            "p.toml [pass.step]: step.deep and step.form=packed exclude each other.",
        ),
    ],
)
def test_what_is_wrong_in_a_policy_file(toml: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        configured(STEPS, parse_policy(toml, "p.toml").options)
    assert message in str(caught.value)


def test_options_are_told_as_plain_values() -> None:
    assert values(Step(skip=("a",))) == {
        "count": 3,
        "tolerance": 1e-3,
        "deep": False,
        "skip": ["a"],
        "form": "plain",
        "limit": None,
    }
    assert values(Bare()) == values(object()) == {}
