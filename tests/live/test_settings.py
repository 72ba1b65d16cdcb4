"""From what stands on the cells to rules: the fewest, that say just the same. Cells are made up; no MindSpore."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnfuse import calls
from attnfuse.errors import TraceError
from attnfuse.live.settings import live_rules
from attnfuse.policy import Policy, SiteQuery


class Type:
    """As MindSpore's types print themselves."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


FLOAT16, BFLOAT16, FLOAT32 = Type("Float16"), Type("BFloat16"), Type("Float32")
_NAMES = {FLOAT16: "float16", BFLOAT16: "bfloat16"}


@dataclass
class Cell:
    """An Attention, as far as settings go."""

    fa_force_dtype: object = FLOAT16
    _enable_flash_sdp: bool = True


@dataclass
class FakeModel:
    """A model with attention cells at these paths, and other cells."""

    cells: dict[str, Cell] = field(default_factory=dict)

    def cells_and_names(self) -> Iterator[tuple[str, object]]:
        yield "", self
        yield "conv_in", object()
        yield from self.cells.items()


BLOCKS = ("down.0.attn1", "down.0.attn2", "down.1.attn1", "down.1.attn2", "mid.attn1")


def model(**changes: Cell) -> FakeModel:
    return FakeModel({path: changes.get(path.replace(".", "_"), Cell()) for path in BLOCKS})


def uniform(dtype: object = FLOAT16, flash: bool = True) -> FakeModel:
    return FakeModel({path: Cell(dtype, flash) for path in BLOCKS})


def labels(**models: FakeModel) -> list[str]:
    return [rule.label for rule in live_rules(models, "pipe.")]


def test_what_nobody_touched_needs_no_rule() -> None:
    assert labels(unet=uniform(), vae=FakeModel()) == []


def test_a_uniform_component_is_one_rule_as_the_call_would_be_written() -> None:
    assert labels(unet=uniform(None), vae=uniform(BFLOAT16, flash=False)) == [
        "pipe.unet: set_flash_attention_force_cast_dtype(None)",
        "pipe.vae: set_flash_attention_force_cast_dtype(bfloat16)",
        "pipe.vae: enable_flash_sdp(False)",
    ]


def test_a_type_mindone_does_not_cast_to_keeps_the_formula_there_and_here() -> None:
    (rule,) = live_rules({"unet": uniform(FLOAT32)}, "")
    assert (rule.force_cast_dtype, rule.label) == ("none", "unet: set_flash_attention_force_cast_dtype(Float32)")


class Silent:
    """A text encoder: nothing in it holds the settings."""

    def cells_and_names(self) -> Iterator[tuple[str, object]]:
        yield "", self
        yield "layers.0.self_attn", object()


def decided(text: Silent, prefix: str = "pipe.", **models: FakeModel) -> tuple[bool, str | None]:
    """What the rules say for the text encoder's attention; for the others' they say what stands on them."""
    policy = Policy(live_rules({**models, "text_encoder": text}, prefix))
    for name, fake in models.items():
        for path, cell in fake.cells.items():
            found = policy.decide(SiteQuery(name, name, path))
            message = None if found.force_cast_dtype is None else found.force_cast_dtype.name
            cast = cell.fa_force_dtype
            assert (found.flash, message) == (
                cell._enable_flash_sdp,
                _NAMES.get(cast) if isinstance(cast, Type) else None,
            )
    found = policy.decide(SiteQuery("text_encoder", "text_encoder", "layers.0.self_attn"))
    return found.flash, None if found.force_cast_dtype is None else found.force_cast_dtype.name


def call(value: object, method: str, *parts: object) -> None:
    """What a call on these parts, or on a pipeline of them, leaves."""
    for part in parts:
        calls.note(part, method, value)
        for cell in part.cells.values() if isinstance(part, FakeModel) else ():
            setattr(cell, "_enable_flash_sdp" if method == FLASH else "fa_force_dtype", value)


CAST, FLASH = calls.METHODS


def test_what_was_noted_of_a_part_holds_for_it() -> None:
    unet, vae, text = uniform(), uniform(), Silent()
    call(False, FLASH, unet, vae, text)
    call(BFLOAT16, CAST, unet, vae, text)
    call(True, FLASH, unet)
    call(None, CAST, vae)
    assert decided(text, unet=unet, vae=vae) == (False, "bfloat16")
    call(True, FLASH, unet, vae, text)
    call(None, CAST, unet, vae, text)
    assert decided(text, unet=unet, vae=vae) == (True, None)
    assert live_rules({"unet": unet, "text_encoder": text, "vae": vae}, "pipe.")[0].label == (
        "pipe: set_flash_attention_force_cast_dtype(None)"
    )


def test_what_was_noted_of_others_only_is_not_its() -> None:
    unet, vae, text = uniform(), FakeModel(), Silent()
    call(False, FLASH, unet)
    call(BFLOAT16, CAST, unet)
    assert decided(text, unet=unet, vae=vae) == (True, "float16")
    call(False, FLASH, vae)
    assert decided(text, unet=unet, vae=vae) == (True, "float16")


def test_a_model_alone_has_what_was_noted_of_it() -> None:
    text = Silent()
    call(False, FLASH, text)
    (rule,) = live_rules({"text_encoder": text}, "")
    assert (rule.match, rule.flash, rule.label) == ("text_encoder", False, "text_encoder: enable_flash_sdp(False)")


@pytest.mark.parametrize(
    ("unet", "vae", "expected"),
    [
        (uniform(), uniform(), (True, "float16")),
        # All agree: a call on the pipeline.
        (uniform(None, flash=False), uniform(None, flash=False), (False, None)),
        (uniform(BFLOAT16), uniform(BFLOAT16), (True, "bfloat16")),
        # Nothing else tells, and one rule is one rule.
        (uniform(None, flash=False), FakeModel(), (False, None)),
        # A call on the part says it with fewer rules.
        (uniform(None, flash=False), uniform(), (True, "float16")),
        # The pipeline and then one of them, either one: the formula is right whatever was meant.
        (uniform(None), uniform(BFLOAT16), (True, None)),
        (uniform(BFLOAT16), uniform(FLOAT32), (True, None)),
    ],
)
def test_what_nothing_was_noted_of_goes_with_the_pipeline(
    unet: FakeModel, vae: FakeModel, expected: tuple[bool, str | None]
) -> None:
    assert decided(Silent(), unet=unet, vae=vae) == expected


def test_modules_where_they_differ() -> None:
    found = model(down_1_attn1=Cell(BFLOAT16), down_1_attn2=Cell(BFLOAT16, False))
    assert labels(unet=found) == [
        "pipe.unet.down.1: set_flash_attention_force_cast_dtype(bfloat16)",
        "pipe.unet.down.1.attn2: enable_flash_sdp(False)",
    ]


def test_the_rest_and_the_exception() -> None:
    found = FakeModel({path: Cell(None) for path in BLOCKS})
    found.cells["down.0.attn1"] = Cell(FLOAT16)
    assert labels(unet=found) == [
        "pipe.unet: set_flash_attention_force_cast_dtype(None)",
        "pipe.unet.down.0.attn1: set_flash_attention_force_cast_dtype(float16)",
    ]


def test_a_model_that_is_itself_an_attention() -> None:
    class Single(Cell):
        def cells_and_names(self) -> Iterator[tuple[str, object]]:
            yield "", self

    (rule,) = live_rules({"model": Single(BFLOAT16)}, "")
    assert (rule.match, rule.force_cast_dtype) == ("model", "bfloat16")


def test_rules_about_cells_that_are_not_compiled_are_no_slips() -> None:
    policy = Policy(live_rules({"vae": uniform(None)}, "pipe."))
    assert policy.rules
    assert policy.unmatched([]) == ()


def test_a_path_longer_than_a_pattern_may_be() -> None:
    """A glob of so many characters would be read for minutes."""
    assert live_rules({"unet": FakeModel({"x" * 900: Cell(None)})}, "pipe.")
    with pytest.raises(TraceError, match=r"^pipe\.unet\.x+… is a path of 1006 characters, .*\.$"):
        live_rules({"unet": FakeModel({"x" * 1_001: Cell(None)})}, "pipe.")


_SETTINGS = st.fixed_dictionaries(
    {path: st.tuples(st.sampled_from([FLOAT16, BFLOAT16, FLOAT32, None]), st.booleans()) for path in BLOCKS}
)


@settings(max_examples=200, deadline=None)
@given(_SETTINGS)
def test_the_rules_say_for_each_cell_what_stands_on_it(found: dict[str, tuple[Type | None, bool]]) -> None:
    fake = FakeModel({path: Cell(*setting) for path, setting in found.items()})
    policy = Policy(live_rules({"unet": fake}, "pipe."))
    assert len(policy.rules) <= 2 * len(BLOCKS)
    for path, (cast, flash) in found.items():
        decision = policy.decide(SiteQuery("unet", "unet", path))
        assert decision.flash is flash
        message = None if decision.force_cast_dtype is None else decision.force_cast_dtype.name
        assert message == (_NAMES.get(cast) if cast is not None else None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["down", "down.0", "down.1", "mid", ""]), st.booleans()), max_size=5))
def test_never_more_rules_than_calls(calls: list[tuple[str, bool]]) -> None:
    """Whatever calls led there, on whatever modules: they are themselves rules that say it."""
    fake = uniform()
    for module, enabled in calls:
        for path, cell in fake.cells.items():
            if not module or path.startswith(f"{module}."):
                cell._enable_flash_sdp = enabled
    assert len(live_rules({"unet": fake}, "")) <= len(calls)
