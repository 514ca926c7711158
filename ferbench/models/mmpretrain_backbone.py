"""Any backbone of mmpretrain, with global average pooling."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ferbench.errors import UserError, nearest
from ferbench.models.weights import LoadedWeights, load_weights
from ferbench.registry import MODELS


@MODELS.register_module()
class MMPretrainBackbone(nn.Module):
    """A backbone of mmpretrain; mmpretrain (seconds to import) is imported only when one is built.

    Args:
        cfg: its config, e.g. ``dict(type='mmpretrain.ResNet', depth=50)``.
        weights: local file of weights, or None for random ones (as the backbone's own ``init_cfg`` says); or a checkpoint
            of ferbench (of any classes) of the same backbone, whose averaged weights are taken.
        sha256, allow_missing, ignore, channel_order: see `load_weights`.
        strip_prefix: ``'backbone.'`` for checkpoints of mmpretrain, whose classifier head is not used; ``''``
            for a file of the bare backbone.
        num_features: D; None: found by passing one grey image of ``img_size`` (of `cfg`; 112 if it names
            none).

    Attributes:
        num_features: D.
        loaded: what came from `weights`, or None.

    Raises:
        UserError: an unknown backbone, arguments it refuses, or weights that do not fit.
    """

    def __init__(
        self,
        cfg: Mapping[str, Any],
        weights: str | None = None,
        sha256: str | None = None,
        strip_prefix: str = "backbone.",
        num_features: int | None = None,
        allow_missing: Sequence[str] = (),
        ignore: Sequence[str] = (),
        channel_order: str | None = None,
    ):
        super().__init__()
        self.network = _build(dict(cfg))
        self.num_features = num_features or self._measure(cfg.get("img_size", 112))
        self.loaded: LoadedWeights | None = None
        if weights is not None:
            self.loaded = load_weights(
                self.network, weights, sha256, strip_prefix, allow_missing, ignore, channel_order
            )

    @torch.no_grad()
    def _measure(self, size: int | tuple[int, int]) -> int:
        height, width = (size, size) if isinstance(size, int) else size
        self.eval()  # no batch statistics, no dropout: neither buffers nor the random state change
        try:
            features = self(torch.zeros(1, 3, height, width))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"{type(self.network).__name__} cannot take an image of {height} x {width} px: {error}",
                where="model.backbone.cfg",
                expected="a backbone for this size (img_size in its config), or num_features=<D>",
            ) from error
        self.train()
        return features.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, num_features]: the last output, averaged over places (and tokens)."""
        outputs = self.network(images)
        last = outputs[-1] if isinstance(outputs, (tuple, list)) else outputs
        if last.ndim == 3:  # [B, tokens, D]
            return last.mean(dim=1)
        return last.flatten(2).mean(dim=2) if last.ndim == 4 else last


def _build(config: dict[str, Any]) -> nn.Module:
    name = str(config.get("type"))
    init = config.get("init_cfg") or ()
    if any(c.get("type") == "Pretrained" for c in ([init] if isinstance(init, Mapping) else init)):
        raise UserError(
            "init_cfg=dict(type='Pretrained') may download and may run code from its file",
            where=f"model.backbone.cfg (type={name!r})",
            expected="weights=<local file> of MMPretrainBackbone",
        )
    # Its import complains that mmcv has no compiled operations and OneDL is absent; nothing here needs them.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
        from mmpretrain.utils import register_all_modules

        register_all_modules(init_default_scope=False)
    key = name.removeprefix("mmpretrain.")
    kind = MMPRETRAIN_MODELS.module_dict.get(key)
    if kind is None:
        raise UserError(
            f"mmpretrain has no backbone named {name!r}",
            where="model.backbone.cfg.type",
            expected=nearest(key, MMPRETRAIN_MODELS.module_dict),
        )
    try:
        network = MMPRETRAIN_MODELS.build(
            {**config, "type": key, "_scope_": "mmpretrain"}
        )  # whatever the default scope
    except (TypeError, AssertionError, ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"mmpretrain cannot build {name!r} with these arguments: {error}",
            where=f"model.backbone.cfg: { {k: v for k, v in config.items() if k != 'type'} }",
            expected="arguments that this backbone takes (see mmpretrain's documentation of it)",
        ) from error
    if hasattr(network, "init_weights"):
        network._dump_init_info = lambda: None  # else a line per parameter in the log
        network.init_weights()
        del network._dump_init_info  # a lambda in an instance cannot be pickled
    return network
