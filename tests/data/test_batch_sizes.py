"""Which batches a stream can be cut into."""

from __future__ import annotations

from typing import Any

import pytest

from ferbench.data.loader import LARGEST_SHARE, check_batch, check_mu
from ferbench.errors import UserError

FEW: Any = range(28)  # a data set is asked for nothing but its length


@pytest.mark.parametrize("size", [1, 64, 448, LARGEST_SHARE])
def test_a_batch_may_be_larger_than_the_set(size) -> None:
    check_batch(FEW, size, "labeled", processes=1)


def test_a_batch_that_no_memory_holds() -> None:
    check_batch(FEW, LARGEST_SHARE * 4, "unlabeled", processes=4)
    with pytest.raises(UserError, match="labeled stream is 100000 images") as caught:
        check_batch(FEW, 100_000, "labeled", processes=1)
    assert caught.value.where == "train_dataloader.batch_size"


@pytest.mark.parametrize("size", [0, -8, 64.0, "64", True, None])
def test_a_batch_that_is_no_number_of_images(size) -> None:
    with pytest.raises(UserError, match="a whole number, at least 1"):
        check_batch(FEW, size, "labeled", processes=1)


@pytest.mark.parametrize("mu", [0, -1, 2.5, "7", None, True])
def test_mu_is_a_whole_number(mu) -> None:
    with pytest.raises(UserError, match=r"unlabeled_dataloader\.mu is"):
        check_mu({"mu": mu})


def test_mu() -> None:
    assert (check_mu({"mu": 3}), check_mu({}), check_mu(None)) == (3, 7, 7)
