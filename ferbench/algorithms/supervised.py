"""The two ends of the scale: the labels of the budget alone, and all labels."""

from __future__ import annotations

from typing_extensions import override

from ferbench.algorithms.base import Algorithm
from ferbench.contracts import Batch, Network, StepResult
from ferbench.core.parts import build
from ferbench.losses.base import scalar
from ferbench.registry import ALGORITHMS, LOSSES


@ALGORITHMS.register_module()
class Supervised(Algorithm):
    """Labeled only: cross-entropy on the labeled budget; the unlabeled stream is not read.

    Args:
        supervised_loss: config of the loss on labeled items.
    """

    def __init__(self, supervised_loss: dict | None = None):
        super().__init__()
        self.supervised_loss = build(
            LOSSES, supervised_loss or dict(type="SupervisedCrossEntropy"), "model.algorithm.supervised_loss"
        )

    @override
    def step(self, network: Network, batch: Batch) -> StepResult:
        output = network({"labeled": batch.labeled["weak"]}, needs_gradient=("labeled",))["labeled"]
        loss = self.supervised_loss(output.logits, batch.target, batch.iteration)
        loss = scalar(self.supervised_loss, loss, "model.algorithm.supervised_loss")
        return StepResult(loss, {"supervised": loss.detach()})


@ALGORITHMS.register_module()
class SupervisedOracle(Supervised):
    """All labels: the same training on the labeled and the unlabeled part with its hidden labels (upper reference)."""

    all_labels = True
