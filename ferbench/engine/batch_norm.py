"""Batch-norm's statistics for weights into which it was folded."""

from __future__ import annotations

import numpy as np
import torch

from ferbench.data.loader import EvalBatches, batch_loader
from ferbench.engine.build import Data
from ferbench.errors import UserError
from ferbench.functional.randomness import derive_seed
from ferbench.models.ssl import SSLModel

IMAGES = 256


def restore_batch_norm(model: SSLModel, data: Data, seed: int) -> None:
    """Take the statistics from images of the run, if the initial weights have none (`ferbench.models.batch_norm`).

    They are 256 unlabeled ones, where the run has some, else labeled ones, as evaluation sees them: which ones is a function of
    the seed, so that every process, every algorithm of a comparison, and a resumed run, take the same.

    Args:
        model: on its device, before it is bound to the run.
        data: of the run.
        seed: of the run.
    """
    loaded = model.network.loaded
    if loaded is None or not loaded.folded:
        return
    dataset = data.datasets.get("unlabeled", data.datasets["labeled"])
    chosen = np.random.default_rng(derive_seed(seed, "batch-norm")).permutation(len(dataset))[:IMAGES]
    images = []
    for batch in batch_loader(EvalBatches(dataset, model.preprocess), [np.sort(chosen)], workers=0):
        if "error" in batch:
            raise batch["error"]
        images.append(batch["images"])
    if not sum(map(len, images)):
        raise UserError(
            f"none of {len(chosen)} images of {dataset.name} can be read, whose statistics batch-norm is to begin with",
            where="unlabeled_dataloader" if "unlabeled" in data.datasets else "train_dataloader",
            fix="look at them with: ferbench check-data CONFIG",
        )
    model.recalibrate(torch.cat(images).to(next(model.parameters()).device))
