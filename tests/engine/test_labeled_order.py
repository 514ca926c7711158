"""The order of the labeled stream is chosen by the config."""

from __future__ import annotations

import numpy as np
import pytest

from ferbench.engine import api
from ferbench.errors import UserError
from ferbench.models.ssl import SSLModel

SHORT = {"train_cfg.max_iters": 6, "train_cfg.val_interval": 6}


@pytest.fixture
def counts(monkeypatch) -> list[list[int]]:
    """Labeled items per class of each step of the next run."""
    seen: list[list[int]] = []
    forward = SSLModel.forward

    def watched(model, batch, *where):
        seen.append(np.bincount(batch["labeled"]["labels"], minlength=4).tolist())
        return forward(model, batch, *where)

    monkeypatch.setattr(SSLModel, "forward", watched)
    return seen


def test_a_balanced_stream_gives_every_class_its_share_in_every_batch(make, counts, tmp_path):
    api.train(make({**SHORT, "train_dataloader.sampler": "class_balanced"}), tmp_path / "balanced")
    assert counts == [[2, 2, 2, 2]] * 6
    counts.clear()
    api.train(make(SHORT), tmp_path / "shuffled")
    assert counts != [[2, 2, 2, 2]] * 6
    assert {sum(step) for step in counts} == {8}


def test_a_mistyped_order(make, tmp_path):
    with pytest.raises(UserError, match="sampler is 'class_balance'") as caught:
        api.train(make({"train_dataloader.sampler": "class_balance"}), tmp_path)
    assert "did you mean 'class_balanced'" in caught.value.fix
    assert not list(tmp_path.glob("*.pth"))
