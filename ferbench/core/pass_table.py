"""A table of one row per item, filled during a pass over a data set and merged over processes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ferbench.distributed import sum_over_ranks


class PassTable:
    """One row of numbers per item, filled while a pass lasts and handed over, whole and in order, at its end.

    Each process sees other items; the sum over the processes is the whole table, the same on all. An item may be seen by
    several processes, where it took the place of an unreadable image: its row is their mean. Between two passes the table
    takes no memory, in one 4 * N * (columns + 1) bytes.

    Args:
        items: N.
        columns: numbers in a row.
    """

    def __init__(self, items: int, columns: int):
        self.shape = (items, columns + 1)  # the last: by how many processes the item was put
        self._rows: Tensor | None = None

    def put(self, index: Tensor, rows: Tensor) -> None:
        """Rows [n, columns] of the items at ``index`` [n]; of an item that is put twice, the last one counts."""
        self._filled(rows.device)[index] = F.pad(rows.float(), (0, 1), value=1.0)

    def put_predictions(self, index: Tensor, probs: Tensor) -> None:
        """Confidence and class [n, 2] of probabilities [n, C]."""
        confidence, label = probs.float().max(dim=1)
        self.put(index, torch.stack([confidence, label.float()], dim=1))

    def take(self, device: torch.device) -> Tensor:
        """The table [N, columns] on ``device``, float32; rows of items that no process has put are 0."""
        rows = sum_over_ranks(self._filled(device))
        self._rows = None
        return rows[:, :-1] / rows[:, -1:].clamp(min=1)

    def take_predictions(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Confidences [N] and classes [N] int64."""
        confidence, label = self.take(device).unbind(dim=1)
        return confidence, label.long()

    def _filled(self, device: torch.device) -> Tensor:
        if self._rows is None:  # or this process has not a single item
            self._rows = torch.zeros(self.shape, device=device)
        return self._rows
