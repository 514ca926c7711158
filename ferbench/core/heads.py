"""Further heads on the features, which parts of an algorithm ask for (`ferbench.lifecycle.Part.heads`)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """``normalize(W2 relu(W1 f))``: a point on the unit sphere, where contrastive terms compare images (SimCLR, CoMatch).

    It is a further head (`ferbench.lifecycle.Part.heads`), not the classifier's own. Parts that ask for equal ones under
    one name share it.

    Args:
        in_features: D.
        dim: dimensions of the embedding.
        hidden: width of the hidden layer; None: D.
    """

    shared = True

    def __init__(self, in_features: int, dim: int = 128, hidden: int | None = None):
        super().__init__()
        hidden = in_features if hidden is None else hidden
        self.layers = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] -> [B, dim] of length 1, float32 (also under autocast)."""
        return F.normalize(self.layers(features).float(), dim=1)


class ParallelHeads(nn.Module):
    """Several linear classifiers side by side, as further heads (`ferbench.lifecycle.Part.heads`).

    Args:
        in_features: D.
        num_classes: C.
        count: how many.
    """

    def __init__(self, in_features: int, num_classes: int, count: int):
        super().__init__()
        self.count = count
        self.fc = nn.Linear(in_features, count * num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] -> logits [B, count, C]."""
        return self.fc(features).unflatten(1, (self.count, -1))
