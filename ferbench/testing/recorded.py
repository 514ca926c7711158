"""Recorded outputs in place of a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from ferbench.contracts import Output


class RecordedNetwork:
    """Answers with recorded outputs, as leaves whose gradient can be read; refuses views it was not told of.

    The images are ignored, so that only the algorithm is under test. Unlike the real one, it gives a graph to every
    view: a zero gradient then proves that the algorithm itself lets none pass.

    Args:
        logits: view -> [b, C].
        features: view -> [b, D]; zeros of one column where absent.
        heads: head -> view -> [b, ...].
        teacher: view -> [b, C] of the EMA model; None: that of the student.
        layers: head -> what it makes of features, for algorithms that ask a head again.

    Attributes:
        asked: the views and the needs for gradient of each call.
    """

    def __init__(
        self,
        logits: Mapping[str, Tensor],
        features: Mapping[str, Tensor] | None = None,
        heads: Mapping[str, Mapping[str, Tensor]] | None = None,
        teacher: Mapping[str, Tensor] | None = None,
        layers: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ):
        self.logits = {view: _leaf(x) for view, x in logits.items()}
        given = {view: _leaf(x) for view, x in (features or {}).items()}
        self.features = {v: given.get(v, torch.zeros(len(x), 1)) for v, x in logits.items()}
        self.heads = {
            head: {view: _leaf(x) for view, x in views.items()} for head, views in (heads or {}).items()
        }
        self.teacher_logits = self.logits if teacher is None else teacher
        self.layers = layers or {}
        self.asked: list[tuple[set[str], set[str]]] = []
        self.asked_teacher: list[tuple[set[str], bool]] = []

    def __call__(
        self, views: Mapping[str, Tensor], needs_gradient: Collection[str], update_statistics: bool = True
    ) -> dict[str, Output]:
        """See `ferbench.contracts.Network`."""
        self.asked.append((set(views), set(needs_gradient)))
        return {view: Output(self.logits[view], self.features[view], self._heads(view)) for view in views}

    def teacher(self, views: Mapping[str, Tensor], training: bool = False) -> dict[str, Output]:
        """See `ferbench.contracts.Network`."""
        self.asked_teacher.append((set(views), training))
        return {
            view: Output(self.teacher_logits[view], self.features[view], self._heads(view)).detach()
            for view in views
        }

    def head(self, name: str, features: Tensor) -> Tensor:
        """See `ferbench.contracts.Network`."""
        return self.layers[name](features)

    def gradient(self, view: str) -> Tensor:
        """Of the loss at a view's logits; zeros where no graph led there."""
        leaf = self.logits[view]
        return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad

    def _heads(self, view: str) -> dict[str, Tensor]:
        return {head: views[view] for head, views in self.heads.items() if view in views}


def _leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()
