"""Optimizer wrapper without a device sync per step."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import Optimizer

from ferbench.core.parts import build
from ferbench.core.plain import spelled_out
from ferbench.errors import UserError
from ferbench.registry import OPTIM_WRAPPERS, OPTIMIZERS

#: Last parts of names of parameters without weight decay, as in mmpretrain's and timm's recipes.
NOT_DECAYED = ("cls_token", "dist_token", "pos_embed", "absolute_pos_embed", "relative_position_bias_table")


def build_optimizer(model: nn.Module, cfg: dict) -> SSLOptimWrapper:
    """Optimizer and wrapper for the trained parameters of a model, in two groups.

    Vectors (biases, norm weights) get no weight decay, as in FixMatch's code; nor do tokens and position embeddings of
    transformers, as in the recipes that these are trained with: `NOT_DECAYED`, and what a network's ``no_weight_decay()``
    names (timm's convention). mmengine's constructor would make one group per parameter, which takes the multi-tensor
    kernels away, and would list the averaged copy of the classifier too.

    Args:
        model: whose parameters that require a gradient are trained.
        cfg: ``optim_wrapper`` of the config.
    """
    spared = _not_decayed(model)
    groups: list[dict[str, Any]] = [{"params": []}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[parameter.ndim <= 1 or name in spared]["params"].append(parameter)
    optimizer = build(OPTIMIZERS, cfg["optimizer"], "optim_wrapper.optimizer", params=groups)
    return build(OPTIM_WRAPPERS, {**cfg, "optimizer": optimizer}, "optim_wrapper")


def _not_decayed(model: nn.Module) -> set[str]:
    """Names of parameters of more than one dimension without weight decay."""
    names = [name for name, _ in model.named_parameters()]
    spared = {name for name in names if name.rpartition(".")[2] in NOT_DECAYED}
    for place, module in model.named_modules():
        hook = getattr(module, "no_weight_decay", None)
        if callable(hook):
            prefix = f"{place}." if place else ""
            patterns = [prefix + pattern for pattern in hook()]
            spared.update(name for name in names if any(fnmatchcase(name, p) for p in patterns))
    return spared


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
        """See `state_dict`.

        Raises:
            UserError: the state is of an optimizer with other groups of parameters.
        """
        theirs, ours = (
            [len(group["params"]) for group in groups]
            for groups in (state_dict["param_groups"], self.optimizer.param_groups)
        )
        if theirs != ours:
            raise UserError(
                f"the optimizer's state is of groups of {theirs} parameters, the network's are of {ours}",
                expected="a checkpoint of the same network, and of a version that groups them alike",
                fix="start anew in another folder",
            )
        state_dict = dict(state_dict)
        scale = state_dict.pop("loss_scaler", None)
        if self.scaler and scale:
            self.scaler.load_state_dict(scale)
        super().load_state_dict(state_dict)


#: Options of an optimizer that change its speed only.
_SPEED = ("fused", "foreach", "capturable", "differentiable")


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """Optimizer and wrapper as the protocol of a run names them.

    Args:
        config: ``optim_wrapper`` of the config.
    """
    wrapper = {k: v for k, v in config.items() if k != "optimizer"}
    optimizer = spelled_out(OPTIMIZERS, config["optimizer"], without=_SPEED)
    return {**optimizer, "wrapper": spelled_out(OPTIM_WRAPPERS, wrapper)}
