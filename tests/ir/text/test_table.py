"""What the operator table tells the short form."""

from __future__ import annotations

import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.text import TextError, infer, parse_program, program_text, signature


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("MatMulExt(x: float16[2, 3, 4], y: float16[4, 5])", "float16[2, 3, 5]"),
        ("Cast(x: float16[2, ?], float32)", "float32[2, ?]"),
        ("Concat((x: float16[2, 3], x), 1)", "float16[2, 6]"),
        ("Split(x: float16[2, 6], 1, 3)[2]", "float16[2, 2]"),
        ("Squeeze(x: float16[2, 1, 3]; axis=(1,))", "float16[2, 3]"),
        ("Depend(x: float16[2], UpdateState(umonad, x))", "float16[2]"),
    ],
)
def test_types_of_results(text: str, kind: str) -> None:
    model = Model(parse_program(text, infer=infer))
    assert str(model.type_of(model.proto.graph.output[0].name)) == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mul(x: float16[2], y: float16[3])", "line 1, column 1: this Mul "),
        ("Unheard(x: float16[2])", "the type of this Unheard is not known; write it"),
        ("Reshape(x: float16[6], (n: int64, 2))", "the type of this Reshape is not known; write it"),
    ],
)
def test_types_that_nobody_knows(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        parse_program(text, infer=infer)


def test_arguments_by_name_take_the_defaults_of_the_others() -> None:
    model = Model(parse_program("ReduceMean(x: float16[2, 3], axis=(1,))", infer=infer, signature=signature))
    assert "ReduceMean(x, (1,), False)" in program_text(model)


def test_defaults_as_text() -> None:
    told = signature("FlashAttentionScore")
    assert told is not None
    assert [told[name] for name in ("query", "prefix", "keep_prob", "pre_tokens", "input_layout")] == [
        *("", "None", "1.0", "2147483647", '"BSH"'),
    ]
    assert signature("Unheard") is None
