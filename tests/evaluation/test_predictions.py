"""The table of predictions, line by line."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from ferbench.data.datasets.base import FaceDataset
from ferbench.evaluation.predictions import write_predictions


class Named(FaceDataset):
    """Three items with awkward names; the second has no label."""

    def __init__(self):
        self.name, self.classes = "named", ("calm, cool", "sad")
        self.labels = np.array([1, -1, 0], np.int16)

    def item_id(self, index):
        return ['a "b".jpg', "c,d.jpg", "é.jpg"][index]

    def read(self, index):
        raise NotImplementedError


PROBS = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], np.float32)


@pytest.mark.parametrize("smoothed", [False, True])
def test_what_a_csv_reader_reads(smoothed, tmp_path):
    averaged = PROBS[:, ::-1].astype(np.float64) if smoothed else None
    write_predictions(tmp_path / "p.csv", Named(), np.arange(3), PROBS, averaged)
    with open(tmp_path / "p.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["id"] for line in lines] == ['a "b".jpg', "c,d.jpg", "é.jpg"]
    assert [line["label"] for line in lines] == ["sad", "", "calm, cool"]
    assert [line["predicted"] for line in lines] == ["sad", "calm, cool", "calm, cool"]
    assert [float(line["p(calm, cool)"]) for line in lines] == [0.25, 0.5, 1.0]
    assert [float(line["p(sad)"]) for line in lines] == [0.75, 0.5, 0.0]
    wanted = ["calm, cool", "calm, cool", "sad"] if smoothed else [None] * 3
    assert [line.get("predicted_smoothed") for line in lines] == wanted


def test_some_items_only(tmp_path):
    write_predictions(tmp_path / "p.csv", Named(), np.array([2]), PROBS[2:])
    assert (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines() == [
        'id,label,predicted,"p(calm, cool)",p(sad)',
        'é.jpg,"calm, cool","calm, cool",1,0',
    ]
