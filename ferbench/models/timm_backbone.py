"""Any network of timm, without its classifier and without its hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor, nn

from ferbench.errors import UserError, nearest
from ferbench.models.weights import LoadedWeights, load_weights
from ferbench.registry import MODELS

#: Arguments of `timm.create_model` that this class decides, and what to use instead.
_OURS = {
    "pretrained": "weights=<local file> (nothing is downloaded)",
    "pretrained_cfg": "weights=<local file>",
    "checkpoint_path": "weights=<local file>",
    "num_classes": "num_classes of the model; the head is apart",
    "in_chans": "in_channels",
}


@MODELS.register_module()
class TimmBackbone(nn.Module):
    """Pooled features of any timm network (``timm.create_model(name, num_classes=0)``).

    A network without batch-norm, whose results do not depend on how a batch is split over processes, is had
    by ``norm_layer='groupnorm'`` (ResNets), a name that ends in ``_gn`` (``resnet50_gn``), or a transformer
    (``name='vit_tiny_patch16_224', img_size=112``).

    Args:
        name: a name of ``timm.list_models()``, e.g. ``resnet18``.
        weights: local file of weights (timm's own, classifier included or not), or None for random ones; or a checkpoint
            of ferbench (of any classes) of the same backbone, whose averaged weights are taken.
        sha256, strip_prefix, allow_missing, ignore, channel_order: see `load_weights`.
        in_channels: channels of the images.
        **create_model_kwargs: further arguments of ``timm.create_model`` (``img_size``, ``norm_layer``,
            ``drop_path_rate``, ...).

    Attributes:
        num_features: D.
        loaded: what came from `weights`, or None.

    Raises:
        UserError: an unknown name or argument, or weights that do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        sha256: str | None = None,
        strip_prefix: str = "",
        allow_missing: Sequence[str] = (),
        ignore: Sequence[str] = (),
        channel_order: str | None = None,
        in_channels: int = 3,
        **create_model_kwargs: Any,
    ):
        super().__init__()
        for key in _OURS.keys() & create_model_kwargs.keys():
            raise UserError(
                f"TimmBackbone takes no {key!r}", where=f"model.backbone (name={name!r})", expected=_OURS[key]
            )
        if name.split(".")[0] not in timm.list_models():  # also refuses hub addresses ('hf-hub:...')
            raise UserError(
                f"timm {timm.__version__} has no network named {name!r}",
                where="model.backbone.name",
                expected=nearest(name, timm.list_models()),
            )
        try:
            network: Any = timm.create_model(
                name, pretrained=False, num_classes=0, in_chans=in_channels, **create_model_kwargs
            )
        except (TypeError, AttributeError, AssertionError, ValueError) as error:
            raise UserError(
                f"timm cannot build {name!r} with these arguments: {error}",
                where=f"model.backbone: {create_model_kwargs}",
                expected="arguments that this network takes (see timm's documentation of it)",
            ) from error
        self.network = network
        # where a layer follows the pooling (MobileNetV3), the features are its output
        self.num_features: int = getattr(network, "head_hidden_size", None) or network.num_features
        self.loaded: LoadedWeights | None = None
        if weights is not None:
            ignore = [*_classifier_names(network), *ignore]
            self.loaded = load_weights(
                self.network, weights, sha256, strip_prefix, allow_missing, ignore, channel_order
            )

    def forward(self, images: Tensor) -> Tensor:
        """[B, in_channels, S, S] -> [B, num_features]."""
        return self.network(images)


def _classifier_names(network: Any) -> Sequence[str]:
    """Beginnings of the names of timm's own classifier, which files have and this network lacks."""
    names = network.pretrained_cfg.get("classifier") or ()
    return [f"{n}." for n in ((names,) if isinstance(names, str) else names)]
