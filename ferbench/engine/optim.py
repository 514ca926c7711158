"""Optimizer wrapper without a device sync per step."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import Optimizer

from ferbench.parts import build
from ferbench.registry import OPTIM_WRAPPERS, OPTIMIZERS


def build_optimizer(model: nn.Module, cfg: dict) -> SSLOptimWrapper:
    """Optimizer and wrapper for the trained parameters of a model, in two groups.

    Vectors (biases, norm weights) get no weight decay, as in FixMatch's code. mmengine's constructor would make one group
    per parameter, which takes the multi-tensor kernels away, and would list the averaged copy of the classifier too.

    Args:
        model: whose parameters that require a gradient are trained.
        cfg: ``optim_wrapper`` of the config.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = build(OPTIMIZERS, cfg["optimizer"], "optim_wrapper.optimizer", params=groups)
    return build(OPTIM_WRAPPERS, {**cfg, "optimizer": optimizer}, "optim_wrapper")


@OPTIM_WRAPPERS.register_module()
class SSLOptimWrapper(OptimWrapper):
    """mmengine's wrapper with loss scaling for fp16 and gradient clipping that does not read the norm back each step.

    The loop splits a step's batch into micro-batches itself, so that one iteration is always one update of the weights
    and a checkpoint never lies between the parts of one; `accumulative_counts` is therefore not offered.

    Args:
        optimizer: the optimizer.
        clip_grad: arguments of `torch.nn.utils.clip_grad_norm_` (``max_norm``), or None.
    """

    def __init__(self, optimizer: Optimizer, clip_grad: dict | None = None):
        super().__init__(optimizer, clip_grad=clip_grad)
        self.scaler: torch.amp.GradScaler | None = None

    def enable_loss_scaling(self, device_type: str) -> None:
        """Scale losses (for fp16)."""
        self.scaler = torch.amp.GradScaler(device_type)

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Accumulate the gradient of ``loss``."""
        (self.scaler.scale(loss) if self.scaler else loss).backward(**kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip, update the weights and clear the gradients."""
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        if self.clip_grad_kwargs:
            parameters = [
                p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None
            ]
            self.clip_func(parameters, **self.clip_grad_kwargs)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step(**kwargs)
        self.optimizer.zero_grad(set_to_none=True)

    def forget(self) -> None:
        """Drop what the optimizer remembers of its steps (momentum): the weights start anew."""
        self.optimizer.state.clear()

    def state_dict(self) -> dict:
        """Optimizer state, and the loss scale where there is one."""
        state = super().state_dict()
        if self.scaler:
            state["loss_scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """See `state_dict`."""
        state_dict = dict(state_dict)
        scale = state_dict.pop("loss_scaler", None)
        if self.scaler and scale:
            self.scaler.load_state_dict(scale)
        super().load_state_dict(state_dict)
