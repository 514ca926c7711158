"""Corrections of the labeled loss alone, on top of any base: logit adjustment and re-weighting."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.errors import UserError
from ferbench.losses.base import SupervisedLoss
from ferbench.losses.imbalance import LogitAdjusted, Reweighted
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class LogitAdjustment(Rebalancing):
    """The base's labeled loss, on logits plus ``tau * log prior`` (Menon et al. 2021, arXiv 2007.07314).

    See `LogitAdjusted`. The base need not make pseudo-labels (``Supervised``).

    Args:
        base: the algorithm underneath.
        tau: strength.
    """

    def __init__(self, base: Any, tau: float = 1.0):
        super().__init__(base)
        learner = _learner(self)
        learner.supervised_loss = LogitAdjusted(tau, learner.supervised_loss)


@ALGORITHMS.register_module()
class Reweighting(Rebalancing):
    """The base's labeled loss, weighted by class: effective number (Cui et al. 2019, arXiv 1901.05555) or frequency.

    See `Reweighted`. The base need not make pseudo-labels (``Supervised``).

    Args:
        base: the algorithm underneath.
        scheme: ``effective_number`` or ``inverse_frequency``.
        beta: of the effective number.
    """

    def __init__(self, base: Any, scheme: str = "effective_number", beta: float = 0.999):
        super().__init__(base)
        learner = _learner(self)
        learner.supervised_loss = Reweighted(scheme, beta, learner.supervised_loss)


def _learner(method: Rebalancing) -> Any:
    """The algorithm at the bottom.

    Raises:
        UserError: it has no supervised loss that could be corrected.
    """
    inner = method.innermost
    if not isinstance(getattr(inner, "supervised_loss", None), SupervisedLoss):
        raise UserError(
            f"{type(method).__name__} corrects the supervised loss, but {type(inner).__name__} has none",
            where="model.algorithm.base",
            expected="an algorithm with a supervised_loss, e.g. Supervised or FixMatch",
        )
    return inner
