"""Writing a batch into a table with a row per item."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.functional.duplicates import last_occurrence


def test_by_hand() -> None:
    last = last_occurrence(torch.tensor([7, 2, 7, 0, 2, 9]))
    assert last.tolist() == [False, False, True, True, True, True]
    assert last_occurrence(torch.tensor([3])).tolist() == [True]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_it_is_what_writing_one_after_the_other_leaves(index) -> None:
    table = dict(zip(index, range(len(index)), strict=True))
    last = last_occurrence(torch.tensor(index))
    assert sorted(table.values()) == last.nonzero()[:, 0].tolist()
