"""The classifier's own head: from a feature vector to logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ferbench.contracts import Output
from ferbench.registry import MODELS


@MODELS.register_module()
class LinearHead(nn.Module):
    """A linear layer, after optional dropout and normalisation.

    With ``dropout=0.5, normalize=True`` it is the head of Ada-CM (Li et al., CVPR 2022, arXiv 2203.12341):
    dropout on the pooled feature, L2 normalisation, linear layer; the features it returns are the normalised
    ones.

    Args:
        in_features: D (filled in by `Classifier`).
        num_classes: C (filled in by `Classifier`).
        dropout: probability that a feature is dropped in training.
        normalize: divide each feature vector by its L2 norm.
    """

    def __init__(self, in_features: int, num_classes: int, dropout: float = 0.0, normalize: bool = False):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.normalize = normalize
        self.fc = nn.Linear(in_features, num_classes)

    def forward(self, features: Tensor) -> Output:
        """[B, D] -> logits [B, C] and the features that the linear layer saw [B, D]."""
        features = self.dropout(features)
        if self.normalize:
            features = F.normalize(features, dim=1)
        return Output(self.fc(features), features)
