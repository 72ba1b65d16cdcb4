"""msprof's tables: what is read of them, and what is said of one that is not whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.errors import SourceError
from attnfuse.measured.profile import Ran, read_statistics, read_summaries
from tests.support import measured

_STATISTIC = measured.statistic([("a", "Add", "AI_VECTOR_CORE", 2.5), ("b", "Cos", "AI_CPU", 40.0)], 3)
_SUMMARY = measured.summary([("a/Add-op1", "Add", "AI_VECTOR_CORE", 2.5), ("a/Cos-op2", "Cos", "AI CPU", 40.0)], 1)


def written(folder: Path, text: str | bytes) -> list[Path]:
    file = folder / "table.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [file]


def test_a_row_for_each_operator(tmp_path: Path) -> None:
    found = read_statistics(written(tmp_path, "\ufeff" + _STATISTIC))  # as a spreadsheet saves it
    assert [(row.type, row.core, row.count, row.name) for row in found] == [
        ("Add", "AI_VECTOR_CORE", 3, ""),
        ("Cos", "AI_CPU", 3, ""),
    ]
    assert [row.seconds for row in found] == pytest.approx([7.5e-6, 120e-6])
    assert [row.is_on_ai_cpu for row in found] == [False, True]


def test_a_row_for_each_task_of_all_files(tmp_path: Path) -> None:
    found = read_summaries(written(tmp_path, _SUMMARY) * 2)
    assert [row.name for row in found] == ["a/Add-op1", "a/Cos-op2"] * 2
    assert [row.is_on_ai_cpu for row in found] == [False, True] * 2
    assert found[1].seconds == pytest.approx(40e-6)


@pytest.mark.parametrize("core", ["AI_CPU", "AI CPU", "ai-cpu", "AICPU"])
def test_each_spelling_of_the_ai_cpu(core: str) -> None:
    assert Ran("Cos", core, 1, 1.0).is_on_ai_cpu


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no such table of msprof: it is empty"),
        ("OP Type,Core Type,Count,Total Time\nAdd,AI_CORE,1,2\n", "it has no column 'Total Time(us)'; export it with"),
        (_STATISTIC[:-1], "is cut off: its last line does not end"),
        (_STATISTIC[: _STATISTIC.rindex(",3,")] + "\n", "table.csv:3 has 8 cells, and its heading 10"),
        (_STATISTIC.replace(",3,", ",three,", 1), "table.csv:2 has 'three' for Count, which is no count"),
        (_STATISTIC.replace(",7.5,", ",nan,"), "has 'nan' for Total Time(us), which is no time"),
        (_STATISTIC.replace(",7.5,", ",-7.5,"), "has '-7.5' for Total Time(us), which is no time"),
        (_STATISTIC + '0,"Add\n', "is no table: "),
        (b"\xff\xfe" + _STATISTIC.encode("utf-16-le"), "cannot be read: it is not UTF-8 text"),
    ],
)
def test_what_is_not_whole_is_one_sentence(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_statistics(written(tmp_path, text))
    assert said in str(caught.value)
    assert str(caught.value).endswith(".")


def test_types_that_were_not_collected(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no operator type; collect with msprof's --task-time=on"):
        read_summaries(written(tmp_path, _SUMMARY.replace(",Add,", ",N/A,")))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_summaries([tmp_path / "none.csv"])
