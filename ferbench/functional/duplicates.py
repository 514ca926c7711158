"""Writing a batch into a table with a row per item."""

from __future__ import annotations

import torch
from torch import Tensor


def last_occurrence(index: Tensor) -> Tensor:
    """Mark the last row of each item in a batch.

    A batch may hold an item twice (where one permutation of the set ends and the next begins, or in a set that is
    smaller than the batch). Written with duplicates, the table would depend on the order in which a GPU writes.

    Args:
        index: [B] places of the items.

    Returns:
        bool [B]; exactly one row of each item is True.

    >>> last_occurrence(torch.tensor([3, 7, 3]))
    tensor([False,  True,  True])
    """
    order = index.argsort(stable=True)
    item = index[order]
    last = torch.ones_like(item, dtype=torch.bool)
    last[:-1] = item[1:] != item[:-1]
    return torch.empty_like(last).scatter_(0, order, last)
