"""The table of a pass, merged over two processes that are played in turn."""

from __future__ import annotations

import pytest
import torch

from ferbench.core import pass_table
from ferbench.core.pass_table import PassTable

CPU = torch.device("cpu")


@pytest.fixture
def merged(monkeypatch):
    """What both of two processes take, whose tables are given."""

    def take(first: PassTable, second: PassTable):
        other = second._filled(CPU).clone()
        monkeypatch.setattr(pass_table, "sum_over_ranks", lambda rows: rows + other)
        return first.take(CPU)

    return take


def test_each_process_puts_its_share(merged):
    first, second = PassTable(4, 2), PassTable(4, 2)
    first.put(torch.tensor([2, 0]), torch.tensor([[0.5, 1.0], [0.25, 3.0]]))
    second.put(torch.tensor([3]), torch.tensor([[0.75, 2.0]]))
    assert merged(first, second).tolist() == [[0.25, 3.0], [0.0, 0.0], [0.5, 1.0], [0.75, 2.0]]


def test_an_item_that_replaces_an_unreadable_one_counts_once(merged):
    """Item 1 is seen by both processes, and twice by the first."""
    first, second = PassTable(3, 1), PassTable(3, 1)
    first.put(torch.tensor([0, 1]), torch.tensor([[0.5], [0.25]]))
    first.put(torch.tensor([1]), torch.tensor([[0.25]]))
    second.put(torch.tensor([1]), torch.tensor([[0.25]]))
    assert merged(first, second).tolist() == [[0.5], [0.25], [0.0]]


def test_predictions_and_a_fresh_table_for_the_next_pass():
    table = PassTable(2, 2)
    table.put_predictions(torch.tensor([1]), torch.tensor([[0.25, 0.75]]))
    confidence, label = table.take_predictions(CPU)
    assert (confidence.tolist(), label.tolist()) == ([0.0, 0.75], [0, 1])
    assert table.take(CPU).tolist() == [[0.0, 0.0]] * 2
