"""Rule 14: what is alive together.

A float16 tensor of 16,384 elements has 32,768 bytes and takes (32,768 + 63) // 32 · 32 = 32,800, in blocks of 512 bytes
33,280.
"""

from __future__ import annotations

import pytest

from attnfuse.cost.peak import POINTS, alive_bytes, allocated, depth_first, drawn, peak_bytes
from tests.support.costs import scheduled

T = 33280
"""Bytes taken for a float16 tensor of [128, 128]."""
X = "x: float16[128, 128]\n"


@pytest.mark.parametrize(("size", "taken"), [(1, 512), (480, 512), (481, 1024), (512, 1024), (32768, T)])
def test_sizes_are_rounded_up(size: int, taken: int) -> None:
    # 480 + 63 = 543, of which 512 are whole steps of 32; 481 + 63 = 544 are 17 steps, and so two blocks.
    assert allocated(size) == taken


def test_a_chain_holds_what_is_read_and_what_is_written() -> None:
    # x and the result stay: 2. Of the three softmaxes, the second reads one and writes one: 2 more.
    text = f"{X}Softmax(Softmax(Softmax(Softmax(x, (-1,)), (-1,)), (-1,)), (-1,))"
    assert peak_bytes(scheduled(text)) == 4 * T


def test_inputs_and_results_are_alive_from_first_to_last() -> None:
    # Nobody needs x behind the first softmax, and its memory is not taken for the others.
    assert peak_bytes(scheduled(f"{X}Softmax(Softmax(x, (-1,)), (-1,))")) == 3 * T


def test_a_value_waits_for_its_last_reader() -> None:
    # x, the result, and e until the sum: while the second softmax runs, e, its operand and its result are alive.
    text = f"{X}e = Exp(x); Add(e, Softmax(Softmax(Softmax(e, (-1,)), (-1,)), (-1,)))"
    assert peak_bytes(scheduled(text)) == (2 + 3) * T


def test_what_stays_inside_a_kernel_takes_nothing() -> None:
    assert peak_bytes(scheduled(f"{X}Neg(Exp(Tanh(Sigmoid(x))))")) == 2 * T


def test_weights_are_apart() -> None:
    text = f"{X}MatMul(x, w: parameter float16[128, 128], False, False)"
    assert peak_bytes(scheduled(text)) == 2 * T


def test_both_copies_of_a_transdata_are_alive() -> None:
    # x, its copy in the convolution's format, the result there, and the graph's result: while the last TransData
    # runs x, the convolution's result and the graph's are; while the convolution runs both copies and its result. The
    # result of the graph is there all the time.
    text = (
        "x: float16[1, 16, 32, 32]; Conv2DExt(x, w: parameter float16[16, 16, 1, 1], None, (1, 1), (0, 0), (1, 1), 1)"
    )
    assert peak_bytes(scheduled(text)) == 4 * T


def test_parts_of_a_free_concat_share_its_memory_from_the_first_on() -> None:
    # x and y, the softmax of [1, 32, 1024] that is the result (65,536 bytes take 66,048), and as much for the Concat
    # from the first part on.
    text = "x: float16[1, 16, 1024]; y: float16[1, 16, 1024]; Softmax(Concat((Exp(x), Softmax(y, (-1,))), 1), (-1,))"
    assert peak_bytes(scheduled(text)) == 2 * T + 2 * 66048


def test_a_part_of_a_free_split_lies_in_what_is_split() -> None:
    # x of [128, 128] and two results of half the size: 16,384 bytes take 16,896.
    text = f"{X}s = Split(x, 0, 2); return Softmax(s[0], (-1,)), Softmax(s[1], (-1,))"
    assert peak_bytes(scheduled(text)) == T + 2 * 16896


@pytest.mark.parametrize("results", ["Tile(r, (1, 2)), a", "a, Tile(r, (1, 2))"])
@pytest.mark.parametrize("nodes", ["a = Softmax(e, (-1,)); r = {}", "r = {}; a = Softmax(e, (-1,))"])
def test_of_two_branches_the_one_whose_kernel_waited_last_runs_first(nodes: str, results: str) -> None:
    # Softmax and ReduceMean wait for e. The converter lists first what makes the last result, whatever stands first in
    # the file; what it lists last is put on the stack last. Then comes what reads that, not the other.
    nodes = nodes.format("ReduceMean(e, (-1,), True)")
    done = scheduled(f"{X}e = Transpose(x, (1, 0)); {nodes}; return {results}")
    branches = [["Softmax"], ["ReduceMean", "Tile"]]
    first, last = branches[::-1] if results.startswith("Tile") else branches
    assert [done.kernels[at].what for at in depth_first(done)] == ["Transpose", *first, *last]


def test_a_shortcut_that_is_the_first_operand_runs_before_the_long_way() -> None:
    # x and the result stay: 2. The small s is there before the softmaxes run, and e is gone with the first of them.
    # With the operands the other way round e waits for the end of the softmaxes beside what they read and write.
    way = "Softmax(Softmax(Softmax(e, (-1,)), (-1,)), (-1,))"
    text = f"{X}e = Transpose(x, (1, 0)); s = ReduceMean(e, (-1,), True); t = {way}"
    small = allocated(128 * 2)
    assert peak_bytes(scheduled(f"{text}; Sub(s, t)")) == (2 + 2) * T + small
    assert peak_bytes(scheduled(f"{text}; Sub(t, s)")) == (2 + 3) * T


def test_what_is_alive_is_told_step_by_step() -> None:
    # x and the result; then the operand and the result of each softmax, of which the first reads x.
    text = f"{X}Softmax(Softmax(Softmax(Softmax(x, (-1,)), (-1,)), (-1,)), (-1,))"
    assert alive_bytes(scheduled(text)) == [2 * T, 3 * T, 4 * T, 4 * T, 3 * T]


def test_a_long_run_is_drawn_in_few_steps_that_keep_the_peak() -> None:
    alive = [100] * 1000
    alive[777] = 500
    steps = drawn(alive)
    assert len(steps) == POINTS
    assert [at for at, held in enumerate(steps) if held == 500] == [777 * POINTS // 1000]
    assert drawn(alive[:5]) == (100,) * 5
