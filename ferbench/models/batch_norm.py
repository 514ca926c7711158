"""Statistics of batch-norm layers, taken from images without changing what the network computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def recalibrate(network: nn.Module, images: Tensor) -> None:
    """Give each 2-d batch-norm layer the statistics of its input, and the weights that keep its function.

    For a layer ``y = w (x - m) / sqrt(v + eps) + b`` and its input's mean M and variance V over images and places, w becomes
    ``w sqrt((V + eps) / (v + eps))``, b becomes ``b + w (M - m) / sqrt(v + eps)``, and M and V the running statistics. In
    evaluation mode the network computes what it did; in training mode, which normalises by the batch, about the same, so that
    the first steps do not destroy what it has learned. For weights into which batch-norm was folded.

    Args:
        network: its batch-norm layers are affine and keep statistics.
        images: [N, C, S, S], as the network takes them.

    Example:
        >>> layer = nn.BatchNorm2d(1)
        >>> recalibrate(layer, torch.tensor([1.0, 5.0]).view(2, 1, 1, 1))
        >>> layer.running_mean.item(), layer.running_var.item(), round(layer.bias.item(), 3)
        (3.0, 8.0, 3.0)
        >>> round(layer.eval()(torch.full((1, 1, 1, 1), 4.0)).item(), 3)
        4.0
    """

    def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        mean, variance = layer.running_mean, layer.running_var
        assert mean is not None
        assert variance is not None
        values = inputs[0].double()
        new_mean, new_variance = values.mean(dim=(0, 2, 3)), values.var(dim=(0, 2, 3))
        gain = layer.weight.double() / (variance.double() + layer.eps).sqrt()
        layer.bias.copy_(layer.bias.double() + gain * (new_mean - mean.double()))
        layer.weight.copy_(gain * (new_variance + layer.eps).sqrt())
        mean.copy_(new_mean)
        variance.copy_(new_variance)

    training = network.training
    hooks = [m.register_forward_pre_hook(see) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    try:
        network.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
