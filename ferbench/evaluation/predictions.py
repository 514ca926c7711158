"""The class probabilities of every image of a dataset, and a table of them in a file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ferbench.core.files import atomic_write
from ferbench.data.datasets.base import FaceDataset
from ferbench.evaluation.metrics import sum_on_cpu


class Predictions:
    """Collects the class probabilities of a dataset's images over all processes.

    Args:
        dataset: the images.
    """

    def __init__(self, dataset: FaceDataset):
        self.shape = len(dataset), len(dataset.classes)
        self._probs: list[Tensor] = []
        self._index: list[Tensor] = []

    def update(self, probs: Tensor, index: Tensor) -> None:
        """Keep one batch where it is (32 bytes an image with eight classes); no device sync.

        Args:
            probs: [B, C] class probabilities.
            index: [B] place of each image in the dataset, on the CPU.
        """
        self._probs.append(probs)
        self._index.append(index.clone())  # a worker's tensor holds a file open

    def gather(self) -> tuple[np.ndarray, np.ndarray]:
        """What the processes have seen together. Must be called by all of them; each gets all.

        Returns:
            Places in the dataset int64 [M], ascending, and probabilities float32 [M, C].
        """
        items, classes = self.shape
        table = torch.zeros(items, classes + 1)  # last column: whether there is a prediction
        if self._index:
            index = torch.cat(self._index)
            table[index, :classes] = torch.cat(self._probs).float().cpu()
            table[index, classes] = 1
        table = sum_on_cpu(table)  # of one number and zeros
        seen = table[:, classes].nonzero()[:, 0].numpy()
        return seen, table[seen, :classes].numpy()


def file_name(weights: str) -> str:
    """Of the table of the predictions with ``raw`` or ``ema`` weights."""
    return f"predictions_{weights}.csv"


def write_predictions(
    path: Path, dataset: FaceDataset, index: np.ndarray, probs: np.ndarray, smoothed: np.ndarray | None = None
) -> None:
    """A line per image: its id, label and predicted class by name, the class probabilities, and the class of smoothed ones.

    Args:
        path: of the csv file; it appears whole or not at all.
        dataset: the images.
        index: [M] places in it.
        probs: [M, C].
        smoothed: [M, C] probabilities that were averaged over frames; None: there are none.
    """
    names = [*map(str, dataset.classes), ""]  # the last: of an image without a label
    columns = [
        dataset.item_ids(index),
        [names[label] for label in dataset.labels[index]],
        [names[label] for label in probs.argmax(axis=1)],
        *([] if smoothed is None else [[names[label] for label in smoothed.argmax(axis=1)]]),
        *([f"{p:.6g}" for p in column] for column in probs.T),
    ]
    head = ["id", "label", "predicted", *([] if smoothed is None else ["predicted_smoothed"])]
    text = io.StringIO(newline="")
    # Python's csv quotes a carriage return only where it ends lines; its readers end a line at any.
    returns = any("\r" in cell for cell in (*names, *columns[0]))
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL)
    writer.writerow([*head, *(f"p({name})" for name in names[:-1])])
    writer.writerows(zip(*columns, strict=True))
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())
