"""Scores against scikit-learn and against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ferbench.functional.metrics import confusion_matrix, scores_from_confusion


def sklearn_scores(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> dict:
    names = list(range(num_classes))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        labels, predictions, labels=names, zero_division=0
    )
    occurring = np.unique(labels)
    return {
        "macro_f1": sk.f1_score(labels, predictions, labels=names, average="macro", zero_division=0),
        "accuracy": sk.accuracy_score(labels, predictions),
        "balanced_accuracy": sk.recall_score(
            labels, predictions, labels=occurring, average="macro", zero_division=0
        ),
        "f1": f1,
        "recall": recall,
        "precision": precision,
    }


@settings(max_examples=60)
@given(
    st.integers(2, 9).flatmap(
        lambda c: st.tuples(
            st.just(c),
            st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1, max_size=60),
        )
    )
)
def test_scores_equal_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    num_classes, pairs = case
    predictions, labels = np.array(pairs).T
    confusion = confusion_matrix(torch.tensor(predictions), torch.tensor(labels), num_classes)
    np.testing.assert_array_equal(
        confusion.numpy(), sk.confusion_matrix(labels, predictions, labels=range(num_classes))
    )
    scores = scores_from_confusion(confusion)
    for key, expected in sklearn_scores(predictions, labels, num_classes).items():
        np.testing.assert_allclose(scores[key], expected, rtol=1e-12, err_msg=key)
    assert scores["count"] == len(pairs)


def test_balanced_accuracy_is_scikit_learns_where_every_prediction_occurs_as_a_label() -> None:
    labels, predictions = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])
    confusion = confusion_matrix(torch.tensor(predictions), torch.tensor(labels), 8)
    expected = sk.balanced_accuracy_score(labels, predictions)
    assert scores_from_confusion(confusion)["balanced_accuracy"] == pytest.approx(expected, abs=1e-15)


def test_scores_by_hand() -> None:
    scores = scores_from_confusion(torch.tensor([[3, 1, 0], [2, 2, 0], [0, 0, 0]]))
    assert scores["f1"] == pytest.approx([6 / 9, 4 / 7, 0.0])
    assert scores["macro_f1"] == pytest.approx((6 / 9 + 4 / 7) / 3)  # the class that never occurs counts
    assert scores["accuracy"] == pytest.approx(5 / 8)
    assert scores["balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 4) / 2)  # here it does not
    assert scores["precision"] == pytest.approx([3 / 5, 2 / 3, 0.0])
    assert scores["recall"] == pytest.approx([3 / 4, 1 / 2, 0.0])
    assert scores["confusion"] == [[3, 1, 0], [2, 2, 0], [0, 0, 0]]
    assert scores["count"] == 8
    assert all(isinstance(scores[k], float) for k in ("macro_f1", "accuracy", "balanced_accuracy"))


def test_nothing_labeled_gives_zeros_not_nan() -> None:
    scores = scores_from_confusion(confusion_matrix(torch.tensor([1, 0]), torch.tensor([-1, -1]), 3))
    assert (scores["macro_f1"], scores["accuracy"], scores["balanced_accuracy"], scores["count"]) == (
        0,
        0,
        0,
        0,
    )


def test_unlabeled_items_are_not_counted() -> None:
    confusion = confusion_matrix(torch.tensor([2, 1, 0]), torch.tensor([1, -1, 0], dtype=torch.int16), 3)
    assert confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert confusion.dtype == torch.int64


@pytest.mark.parametrize(("prediction", "label"), [(0, 3), (3, 0), (-1, 0)])
def test_an_index_out_of_range_is_an_error_not_a_wrong_cell(prediction: int, label: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        confusion_matrix(torch.tensor([prediction]), torch.tensor([label]), 3)


def test_counts_are_exact_beyond_float_precision() -> None:
    scores = scores_from_confusion(torch.tensor([[2**40 + 1, 0], [0, 1]]))
    assert scores["count"] == 2**40 + 2
    assert scores["confusion"][0][0] == 2**40 + 1
