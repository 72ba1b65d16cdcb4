"""Multiplications and additions, counted by hand."""

from __future__ import annotations

import pytest

from attnfuse.cost.flops import attention_flops, convolution_flops, product_flops, transposed_convolution_flops


@pytest.mark.parametrize("right", [(7, 5), (5, 7), (3, 7, 5)])
def test_a_product_sums_up_one_axis(right: tuple[int, ...]) -> None:
    assert product_flops(right, (3, 4, 5)) == 2 * 3 * 4 * 5 * 7


def test_a_product_with_a_vector_does_too() -> None:
    assert product_flops((7,), (4,)) == 2 * 4 * 7


def test_a_convolution_sums_up_channels_and_window() -> None:
    assert convolution_flops((16, 8, 3, 3), (2, 16, 10, 10)) == 2 * (2 * 16 * 10 * 10) * (8 * 9)


def test_a_transposed_convolution_spreads_each_element() -> None:
    assert transposed_convolution_flops((8, 16, 4, 4), (2, 8, 10, 10)) == 2 * (2 * 8 * 10 * 10) * (16 * 16)


@pytest.mark.parametrize(
    ("layout", "query", "key", "value"),
    [
        (1, (2, 4, 16, 32), (2, 4, 24, 32), (2, 4, 24, 8)),  # BNSD
        (3, (2, 16, 4, 32), (2, 24, 4, 32), (2, 24, 4, 8)),  # BSND
        (8, (2, 4, 16, 32), (2, 4, 24, 32), (2, 4, 24, 8)),  # BNSD_BSND
        (0, (2, 16, 128), (2, 24, 128), (2, 24, 32)),  # BSH
        (0, (2, 16, 128), (2, 24, 64), (2, 24, 16)),  # BSH, two heads of the query to one of the keys
        (2, (16, 2, 128), (24, 2, 128), (24, 2, 32)),  # SBH
        (4, (32, 4, 32), (24, 4, 32), (24, 4, 8)),  # TND, as if each row saw each key
    ],
)
def test_an_attention_is_two_products(
    layout: int, query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]
) -> None:
    # Rows of the query by 24 keys, by 32 elements of the key and by 8 of the value.
    whole = 2 * (2 * 4 * 16) * 24 * (32 + 8)
    assert attention_flops(layout, 0, query, key, value) == whole
    assert attention_flops(layout, 2, query, key, value) == whole / 2
