"""Names of boards and the rows they are of."""

from __future__ import annotations

import pytest

from attnfuse.errors import UsageError
from attnfuse.targets import SOCS
from attnfuse.targets.names import BOARDS, soc_named


@pytest.mark.parametrize(
    ("name", "soc"),
    [
        ("ascend910b", "ascend910b"),
        ("Ascend910B", "ascend910b"),
        ("910b4", "ascend910b"),
        ("Ascend910B4-1", "ascend910b"),
        ("Ascend910_93", "ascend910_93"),
        ("Ascend910_9391", "ascend910_93"),
        ("910C", "ascend910_93"),
        ("310P3", "ascend310p"),
        ("Ascend 310P", "ascend310p"),
        ("Ascend910A", "ascend910"),
        ("Ascend910", "ascend910"),
    ],
)
def test_a_board_is_of_a_row(name: str, soc: str) -> None:
    assert soc_named(name) == soc


def test_every_board_is_of_one_row() -> None:
    assert set(BOARDS) == set(SOCS)
    assert all(soc_named(board) == soc for soc, boards in BOARDS.items() for board in (*boards, f"Ascend{boards[0]}"))


def test_a_name_of_two_generations_is_asked_about() -> None:
    with pytest.raises(UsageError, match=r"ascend910\) as well as the kind of 910B1 to 910B4 \(ascend910b\)"):
        soc_named("910B")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ascend910b5", "'ascend910b'"),
        ("acsend910b", "'ascend910b'"),
        ("ascend310b1", None),
        ("", None),
        ("a100", None),
    ],
)
def test_what_is_none_is_told_with_the_nearest(name: str, hint: str | None) -> None:
    with pytest.raises(UsageError, match=r"is not one of ascend310p, ascend910, ascend910b, ascend910_93") as caught:
        soc_named(name)
    assert ("Did you mean" in str(caught.value)) == (hint is not None)
    assert hint is None or hint in str(caught.value)
