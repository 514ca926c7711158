"""CRMatch's distance between the features of two views."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import NONNEGATIVE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.functional.losses import weighted_mean
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class FeatureDistance(ExtraTerm):
    """``mean_i(w_i * max(0, cos(d(f_weak), d(f_strong))))``: the class stays, the features move with the augmentation.

    FeatDistLoss in its equivariant form (Fan et al. 2021, arXiv 2112.05825), over the whole batch, with the threshold
    rule's weights. d is a head ``distance`` of its own, one linear layer D -> D on the pooled features; public code has it
    on the feature map before pooling.

    Args:
        weight: factor in the total loss.
        view: the strong view.
        weak_gradient: whether the weak view moves too (the recorded public code; it then passes with a graph), or only the
            strong one. The weak view's logits never carry a gradient.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> logits, features = torch.zeros(2, 2), torch.zeros(2, 1)
    >>> weak = Output(logits, features, {"distance": torch.tensor([[1.0, 0.0], [1.0, 0.0]])})
    >>> strong = Output(logits, features, {"distance": torch.tensor([[1.0, 0.0], [0.0, 1.0]])})
    >>> FeatureDistance()(make_step({"weak": weak, "strong": strong}, weight=[1.0, 1.0]))
    tensor(0.5000)
    """

    name = "distance"

    def __init__(self, weight: float = 1.0, view: str = "strong", weak_gradient: bool = True):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        self.weight = weight
        self.views = ("weak", view)
        self.needs_gradient = self.views if weak_gradient else (view,)

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"distance": nn.Linear(num_features, num_features)}

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        weak, strong = (step.outputs[view].heads["distance"].float() for view in self.views)
        weak = weak if "weak" in self.needs_gradient else weak.detach()
        return weighted_mean(F.cosine_similarity(weak, strong, dim=1).clamp(min=0), step.weight)
