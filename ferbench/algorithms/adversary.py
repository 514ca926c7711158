"""The small perturbation of an image that changes the prediction most."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import COUNT_OR_0, NONNEGATIVE, POSITIVE, check_numbers
from ferbench.contracts import Network
from ferbench.distributed import local_rows, world_size
from ferbench.functional.losses import kl_divergence
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import Part, RunContext


class Adversary(Part):
    """``r = eps * d / ||d||`` by power iteration: from noise, ``d <- grad_d KL(p(x) || p(x + xi * d / ||d||))``.

    Miyato et al. 2018, arXiv 1704.03976, eq. 5-13; norms are L2, over an image. The iteration runs in float32 also where the
    step does not, with the same dropout masks in both predictions. ``xi`` is larger than the paper's 1e-6: a perturbation
    that small vanishes in the rounding of float32 pixels, and what is found is noise (docs/parity.md). The noise is drawn
    for the global batch as a function of seed and the batch's number. Images and perturbed images leave batch-norm's running
    statistics alone.

    Args:
        eps: length of the perturbation.
        xi: length of the step of the finite difference.
        iterations: passes forward and backward; there is one forward pass more.
    """

    name = "perturbed"

    def __init__(self, eps: float, xi: float, iterations: int):
        super().__init__()
        check_numbers(self, NONNEGATIVE, eps=eps)
        check_numbers(self, POSITIVE, xi=xi)
        check_numbers(self, COUNT_OR_0, iterations=iterations)
        self.eps, self.xi, self.iterations = eps, xi, iterations

    @override
    def bind(self, context: RunContext) -> None:
        self.seed = context.seed

    def forward(self, network: Network, images: Tensor, number: int) -> Tensor:
        """Logits of the perturbed images: [b, 3, S, S] -> [b, C], with a graph to the weights alone."""
        perturbed = images.detach() + self.eps * self.direction(network, images, number)
        return self._logits(network, perturbed, learning=True)

    def direction(self, network: Network, images: Tensor, number: int) -> Tensor:
        """Where the prediction changes most: [b, 3, S, S], each image of length 1."""
        generator = torch.Generator(images.device).manual_seed(derive_seed(self.seed, "vat", number))
        shape = (world_size() * len(images), *images.shape[1:])
        direction = _unit(local_rows(torch.randn(shape, generator=generator, device=images.device)))
        devices = [images.device] if images.is_cuda else []
        with torch.autocast(images.device.type, enabled=False):
            with torch.random.fork_rng(devices):
                probs = self._logits(network, images).softmax(dim=1)
            for _ in range(self.iterations):
                offset = (self.xi * direction).requires_grad_()
                with torch.random.fork_rng(devices):
                    logits = self._logits(network, images.detach() + offset, learning=True)
                (gradient,) = torch.autograd.grad(kl_divergence(logits, probs).sum(), offset)
                direction = _unit(gradient)
        return direction

    def _logits(self, network: Network, images: Tensor, learning: bool = False) -> Tensor:
        learns = (self.name,) if learning else ()
        return network({self.name: images}, learns, update_statistics=False)[self.name].logits


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.flatten(1), dim=1).view_as(rows)
