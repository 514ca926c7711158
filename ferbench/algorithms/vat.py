"""Virtual adversarial training."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ferbench.algorithms.base import Network
from ferbench.algorithms.matching import Matching, MatchingStep
from ferbench.data.randomness import derive_seed
from ferbench.distributed import local_rows, world_size
from ferbench.functional.losses import kl_divergence
from ferbench.lifecycle import RunContext
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class VAT(Matching):
    """The prediction is to withstand the small perturbation that changes it most (Miyato et al. 2018, arXiv 1704.03976).

    ``L = L_x + lambda_u * ramp * mean KL(p(weak) || p(weak + r)) + entropy * mean H(p(weak))``, ``r = eps * d / ||d||``;
    d is found by power iteration: from noise, ``d <- grad_d KL(p(weak) || p(weak + xi * d / ||d||))`` (eq. 5-13). Norms are
    L2, over an image.

    The power iteration runs in float32 also where the step does not, with the same dropout masks in both predictions, and
    ``xi`` is larger than the paper's 1e-6: a perturbation that small vanishes in the rounding of float32 pixels, and what
    is found is noise (see docs/parity.md). The noise is drawn for the global batch as a function of seed and iteration.

    Batch-norm: unlabeled and perturbed images pass apart from the labeled ones and leave the running statistics alone, as
    in the authors' code, so that ``weak`` and ``weak + r`` are normalised alike.

    Args:
        eps: length of the perturbation.
        xi: length of the step of the finite difference.
        power_iterations: passes forward and backward to find d; there is one forward pass more.
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
        self.eps, self.xi, self.power_iterations = eps, xi, power_iterations

    def bind(self, context: RunContext) -> None:
        """See `Part.bind`."""
        super().bind(context)
        self.seed = context.seed

    @property
    def _learning(self) -> tuple[str, ...]:
        return ("labeled",)

    def _compared(self, step: MatchingStep) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        images = step.batch.unlabeled[self.prediction_view]
        perturbed = images + self.eps * self._direction(step.network, images, step.batch.iteration)
        logits = self._logits(step.network, perturbed, learning=True)
        labeled = step.outputs["labeled"].logits, step.batch.target
        return labeled, (self._with_margins(logits), step.target, step.weight)

    def _direction(self, network: Network, images: Tensor, iteration: int) -> Tensor:
        """[b, ...] of length 1: where the prediction changes most."""
        generator = torch.Generator(images.device).manual_seed(derive_seed(self.seed, "vat", iteration))
        shape = (world_size() * len(images), *images.shape[1:])
        direction = _unit(local_rows(torch.randn(shape, generator=generator, device=images.device)))
        devices = [images.device] if images.is_cuda else []
        with torch.autocast(images.device.type, enabled=False):
            with torch.random.fork_rng(devices):
                probs = self._logits(network, images).softmax(dim=1)
            for _ in range(self.power_iterations):
                offset = (self.xi * direction).requires_grad_()
                with torch.random.fork_rng(devices):
                    logits = self._logits(network, images.detach() + offset, learning=True)
                (gradient,) = torch.autograd.grad(kl_divergence(logits, probs).sum(), offset)
                direction = _unit(gradient)
        return direction

    @staticmethod
    def _logits(network: Network, images: Tensor, learning: bool = False) -> Tensor:
        name = "perturbed"
        return network({name: images}, (name,) if learning else (), update_statistics=False)[name].logits


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.flatten(1), dim=1).view_as(rows)
