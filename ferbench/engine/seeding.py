"""Random numbers of a training step."""

from __future__ import annotations

import random

import numpy as np
import torch

from ferbench.functional.randomness import derive_seed


def seed_step(seed: int, iteration: int, rank: int, moment: str = "step") -> None:
    """Set every global generator to a function of (seed, iteration, rank, moment).

    A step then draws the same numbers whether the run was killed before it or not, whatever validation, logging or
    plug-ins drew in between; no generator state has to be saved. Costs about 20 microseconds.
    """
    value = derive_seed(moment, seed, iteration, rank)
    torch.manual_seed(value % 2**63)
    np.random.seed(value % 2**32)  # plug-ins may use the legacy global generator
    random.seed(value)
