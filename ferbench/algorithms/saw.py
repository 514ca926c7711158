"""SAW."""

from __future__ import annotations

from typing import Any

import torch
from typing_extensions import override

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.core.parts import build
from ferbench.errors import UserError
from ferbench.functional.frequency import effective_number_weights
from ferbench.lifecycle import RunContext
from ferbench.losses.base import check_class_factors
from ferbench.registry import ALGORITHMS, LOSSES


@ALGORITHMS.register_module()
class SAW(Rebalancing):
    """The base with both losses weighted against the frequency of their class (Lai et al. 2022, ICML, PMLR 162).

    ``w_c ~ (1 - b) / (1 - b^n_c)`` with mean 1: of a labeled item by the labels' frequencies in the labeled stream, of a
    pseudo-label by those of the pseudo-labels of the whole unlabeled set, counted once per epoch. Utilization is that of the
    base.

    Args:
        base: an algorithm of the matching family whose supervised loss takes ``class_weight``.
        rule: arguments of `RarityWeightedConsistency` (``epoch_length``, ``max_items``, ...).

    Raises:
        UserError: the supervised loss of the base takes no class weights.
    """

    def __init__(self, base: Any, rule: dict | None = None):
        super().__init__(base)
        matching = self.matching
        if not hasattr(matching.supervised_loss, "class_weight"):
            raise UserError(
                f"SAW weights the supervised loss by class, but {type(matching.supervised_loss).__name__} takes no weights",
                where="model.algorithm.base.supervised_loss",
                expected="a loss with an attribute class_weight, e.g. SupervisedCrossEntropy",
            )
        config = dict(type="RarityWeightedConsistency", loss=matching.consistency, **(rule or {}))
        matching.consistency = build(LOSSES, config, "model.algorithm.rule")

    @override
    def bind(self, context: RunContext) -> None:
        counts = torch.tensor(context.class_shares) * context.num_labeled
        weights = effective_number_weights(counts).float()
        loss = self.matching.supervised_loss
        given = loss.class_weight
        check_class_factors(loss, given, context.num_classes)
        loss.class_weight = weights if given is None else given * weights.to(given.device)
