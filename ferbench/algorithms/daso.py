"""DASO."""

from __future__ import annotations

from typing import Any

from torch import nn
from typing_extensions import override

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.alignments.semantic import Prototypes, SemanticBlend
from ferbench.contracts import Batch, Network, StepResult
from ferbench.distributed import gather_rows
from ferbench.errors import UserError
from ferbench.losses.semantic import SemanticAlignment
from ferbench.registry import ALGORITHMS

FEATURES = "features"


@ALGORITHMS.register_module()
class DASO(Rebalancing):
    """Pseudo-labels blended with those of class prototypes, and aligned with them (Oh et al. 2022, arXiv 2106.05682).

    ``L = L_base(pseudo-labels of SemanticBlend) + weight * SemanticAlignment``. The prototypes are means of the EMA
    model's features of the last ``length`` labeled items of each class.

    Args:
        base: the algorithm underneath.
        length: features kept per class.
        temperature: of the similarity.
        blend_temperature: T of the blending; 1.5 in the paper where labels and unlabeled data are alike, 0.3 where not.
        weight: of the alignment loss.
        interval: iterations between two looks at how often each class is a pseudo-label.
        warmup: share of the run without blending and alignment (the authors': 5,000 of 250,000 iterations).
    """

    learns_labels = True

    def __init__(
        self,
        base: Any,
        length: int = 256,
        temperature: float = 0.05,
        blend_temperature: float = 1.5,
        weight: float = 1.0,
        interval: int = 100,
        warmup: float = 0.02,
    ):
        super().__init__(base)
        inner = self.matching
        if inner.embedding is not None:
            raise UserError(
                f"DASO's rule must see the features, but {type(inner).__name__} shows the rules its head {inner.embedding!r}",
                where="model.algorithm.base",
                expected="a base without an embedding",
            )
        inner.embedding = FEATURES
        self.prototypes = Prototypes(length, temperature)
        semantic = self.prototypes.logits
        self.align(SemanticBlend(semantic, blend_temperature, interval, warmup))
        inner.terms.append(
            SemanticAlignment(semantic, weight, warmup, self.weak_views[0], inner.prediction_view)
        )

    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        """The features themselves, so that rules see them."""
        return {FEATURES: nn.Identity()}

    @override
    def step(self, network: Network, batch: Batch) -> StepResult:
        output = network.teacher({"labeled": batch.labeled["weak"]})["labeled"]
        self.prototypes.add(gather_rows(output.features), gather_rows(batch.labels))
        return super().step(network, batch)
