"""The network that is trained: a backbone that makes features, and a head that makes logits of them.

A backbone is any module with an attribute ``num_features`` (D) and ``forward(images [B, 3, S, S]) -> features
[B, D]``. A head is any module that is built with ``in_features`` and ``num_classes`` and has
``forward(features [B, D]) -> Output``. Either may come from a plug-in; nothing else is asked of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ferbench.contracts import Output
from ferbench.core.parts import build
from ferbench.errors import UserError, described
from ferbench.models.weights import LoadedWeights
from ferbench.registry import MODELS


@MODELS.register_module()
class Classifier(nn.Module):
    """Backbone and head.

    Args:
        backbone: a backbone, or the config of one (registry MODELS).
        head: a head, or the config of one; ``in_features`` and ``num_classes`` are filled in.
        num_classes: C; may be left out when ``head`` is a module.

    Raises:
        UserError: a backbone without ``num_features``, or a head for another number of classes.
    """

    def __init__(
        self,
        backbone: nn.Module | Mapping[str, Any],
        head: nn.Module | Mapping[str, Any],
        num_classes: int | None = None,
    ):
        super().__init__()
        self.backbone: nn.Module = (
            backbone if isinstance(backbone, nn.Module) else build(MODELS, backbone, "model.backbone")
        )
        num_features = getattr(self.backbone, "num_features", None)
        if not isinstance(num_features, int):
            raise UserError(
                f"the backbone {type(self.backbone).__name__} does not say how many features it makes",
                where="model.backbone",
                expected="an attribute num_features: int",
            )
        self.num_features = num_features
        self.head = head if isinstance(head, nn.Module) else self._build_head(dict(head), num_classes)
        self.heads = nn.ModuleDict()

    def _build_head(self, config: dict[str, Any], num_classes: int | None) -> nn.Module:
        asked = config.get("num_classes", num_classes)
        if asked is None or (num_classes is not None and asked != num_classes):
            raise UserError(
                f"the head is to have {asked} classes, the classifier {num_classes}",
                where="model.head.num_classes",
                expected="the same number (name it once, as num_classes of the model)",
            )
        return build(MODELS, config, "model.head", in_features=self.num_features, num_classes=asked)

    def add_heads(self, heads: Mapping[str, nn.Module]) -> None:
        """Further heads on the features, for an algorithm that needs them.

        A head whose class says ``shared = True`` (`ProjectionHead`) may be asked for by several parts; they get one.

        Raises:
            UserError: a name is taken, by another head or by one that is not to be shared.
        """
        for name, head in heads.items():
            if name in self.heads:
                if getattr(head, "shared", False) and repr(head) == repr(self.heads[name]):
                    continue
                raise UserError(
                    f"two parts of the algorithm want a head named {name!r}", where="model.algorithm"
                )
            self.heads[name] = head

    @property
    def loaded(self) -> LoadedWeights | None:
        """What the backbone started from; None: random weights."""
        return getattr(self.backbone, "loaded", None)

    @property
    def initial_weights(self) -> dict[str, Any] | None:
        """The same for the run record."""
        return None if self.loaded is None else self.loaded.as_dict()

    def forward(self, images: Tensor) -> Output:
        """What the classifier says of normalised images [B, 3, S, S]."""
        features = self.backbone(images)
        if not isinstance(features, Tensor) or features.shape != (len(images), self.num_features):
            raise UserError(
                f"the backbone {type(self.backbone).__name__} made of {len(images)} images: {described(features)}",
                where="model.backbone",
                expected=f"features of shape [B, {self.num_features}]: one pooled vector per image",
            )
        output = self.head(features)
        if not self.heads:
            return output
        return output._replace(heads={name: head(output.features) for name, head in self.heads.items()})
