"""Which images the unlabeled stream holds."""

from __future__ import annotations

import numpy as np
import pytest

from ferbench.data.splits import BudgetSplit
from ferbench.engine.build import build_data, dataset_builders
from ferbench.errors import UserError
from ferbench.registry import SPLITS

OWN = {"unlabeled_dataloader.dataset": None}


def ids(dataset) -> list[str]:
    """Class and file, without the name of the data set, which a mixture puts before them."""
    return ["/".join(i.split("/")[-2:]) for i in dataset.item_ids(np.arange(len(dataset)))]


@pytest.mark.parametrize("rest", [True, False])
@pytest.mark.parametrize("faces", [True, False])
def test_labeled_images_once_more(rest, faces, make) -> None:
    """As in common code bases: each is in it once, before the images of other data sets, and validation images never."""
    options = {"unlabeled_dataloader.rest": rest, **({} if faces else OWN)}
    cfg = make({**options, "unlabeled_dataloader.include_labeled": True})
    data = build_data(cfg)
    found, split = ids(data.datasets["unlabeled"]), data.split.parts
    wanted = np.concatenate([split["labeled"], split["unlabeled"]]) if rest else split["labeled"]
    own = ids(data.sources["train"])
    assert found[: len(wanted)] == [own[i] for i in np.sort(wanted)]
    assert len(found) == len(wanted) + (61 if faces else 0)
    assert not {own[i] for i in split["val"]} & set(found[: len(wanted)])
    assert ids(dataset_builders(cfg)["unlabeled"]()) == found
    # The labeled stream and the other parts are what they were.
    without = build_data(make(OWN))
    for name in ("labeled", "val", "test"):
        assert ids(data.datasets[name]) == ids(without.datasets[name])
    assert not set(ids(without.datasets["unlabeled"])) & set(ids(without.datasets["labeled"]))


def test_without_a_split_all_training_images_are_labeled(make) -> None:
    cfg = make({"unlabeled_dataloader.rest": False, "unlabeled_dataloader.include_labeled": True})
    cfg.split, cfg.val_dataloader = None, dict(cfg.test_dataloader)
    data = build_data(cfg)
    assert ids(data.datasets["unlabeled"])[:122] == ids(data.datasets["labeled"])
    assert len(data.datasets["unlabeled"]) == 122 + 61


@SPLITS.register_module(force=True)
class AllUnlabeled(BudgetSplit):
    def draw(self, listing):
        parts = super().draw(listing)
        return {**parts, "unlabeled": np.sort(np.concatenate([parts["labeled"], parts["unlabeled"]]))}


def test_an_image_that_the_split_has_put_there_is_not_counted_twice(make) -> None:
    both = {"unlabeled_dataloader.include_labeled": True, "split.type": "AllUnlabeled", **OWN}
    found = ids(build_data(make(both)).datasets["unlabeled"])
    assert len(found) == len(set(found))


@pytest.mark.parametrize("key", ["rest", "include_labeled"])
def test_neither_yes_nor_no_is_refused(key, make) -> None:
    with pytest.raises(UserError, match=f"unlabeled_dataloader.{key} is 'no'"):
        build_data(make({f"unlabeled_dataloader.{key}": "no"}))


def test_a_stream_without_a_source_is_refused(make) -> None:
    with pytest.raises(UserError, match="no source") as caught:
        build_data(make({**OWN, "unlabeled_dataloader.rest": False}))
    assert "include_labeled=True" in caught.value.expected
