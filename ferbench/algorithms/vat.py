"""Virtual adversarial training."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ferbench.algorithms.adversary import Adversary
from ferbench.algorithms.matching import Matching
from ferbench.contracts import MatchingStep
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class VAT(Matching):
    """The prediction is to withstand the small perturbation that changes it most (Miyato et al. 2018, arXiv 1704.03976).

    ``L = L_x + lambda_u * ramp * mean KL(p(weak) || p(weak + r)) + entropy * mean H(p(weak))``; r: see `Adversary`, where
    our ``xi`` differs from the paper's, too.

    Batch-norm: unlabeled and perturbed images pass apart from the labeled ones and leave the running statistics alone, as
    in the authors' code, so that ``weak`` and ``weak + r`` are normalised alike.

    Args:
        eps, xi, power_iterations: see `Adversary`.
        entropy: weight of `EntropyTerm`; 0: none.
        ramp: fraction of the run over which lambda_u grows from 0.
        parts: any argument of `Matching`; ``prediction_view`` is the view that is perturbed.
    """

    def __init__(
        self,
        eps: float = 6.0,
        xi: float = 0.3,
        power_iterations: int = 1,
        entropy: float = 0.06,
        ramp: float = 0.4,
        **parts: Any,
    ):
        defaults = dict(
            threshold=dict(type="FixedThreshold", threshold=0.0),
            target=dict(type="SoftTarget", temperature=1.0),
            consistency=dict(type="ConsistencyKL"),
            terms=[dict(type="EntropyTerm", weight=entropy)] if entropy else [],
            prediction_view="weak",
            unlabeled_statistics=False,
        )
        super().__init__(ramp=ramp, **{**defaults, **parts})
        self.adversary = Adversary(eps, xi, power_iterations)

    @property
    def _learning(self) -> tuple[str, ...]:
        return ("labeled",)

    def _compared(self, step: MatchingStep) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        batch = step.batch
        logits = self.adversary(step.network, batch.unlabeled[self.prediction_view], batch.number)
        labeled = step.outputs["labeled"].logits, batch.target
        return labeled, (self._with_margins(logits), step.target, step.weight)
