"""CReST and CReST+."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.alignments.progressive import ProgressiveAlignment
from ferbench.core.parts import build
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext
from ferbench.losses.picked import ScaledSupervised
from ferbench.registry import ALGORITHMS, LOSSES


@ALGORITHMS.register_module()
class CReST(Rebalancing):
    """Class-rebalancing self-training (Wei et al. 2021, arXiv 2102.09559).

    The classifier is trained G times from its initial weights. After each time it labels the unlabeled set, and the rarer a
    class is among the labels, the larger the share of its pseudo-labeled items that joins the labeled set of the next time
    (`PickedItems`). The learning rate's schedule runs once, over all generations.

    The data streams stay as they are. With B labeled and mu * B unlabeled images per step,
    ``L_x = (n_l * mean_labeled CE + N * mean_unlabeled([picked] * CE)) / (n_l + n_p)`` estimates the mean over the n_l
    labeled and n_p picked items without bias: that is our way, in place of a longer labeled stream.

    Args:
        base: an algorithm of the matching family.
        generations: G.
        restart: each generation starts from the initial weights, as in the paper; False: it goes on from the last one's.
        alpha: the sampling rate is a ratio of class frequencies to the power 1 / alpha.
        picks: any other argument of `PickedItems` (``rates``, ``view``, ``weights``).

    Raises:
        UserError: the base has generations of its own.
    """

    def __init__(
        self,
        base: Any,
        generations: int = 6,
        restart: bool = True,
        alpha: float = 3.0,
        picks: dict | None = None,
    ):
        super().__init__(base)
        matching = self.matching
        config = dict(type="PickedItems", weight=matching.lambda_x, generations=generations, alpha=alpha)
        picked = build(LOSSES, {**config, **(picks or {})}, "model.algorithm.picks")
        matching.terms.append(picked)
        matching.supervised_loss = ScaledSupervised(matching.supervised_loss, lambda: picked.share)
        self.generations, self.restart = generations, restart

    @override
    def bind(self, context: RunContext) -> None:
        self.length = context.generation_length(self.generations)

    @property
    @override
    def generation(self) -> int | None:
        if self.base.generation is not None:
            raise UserError(
                f"{type(self).__name__} restarts the classifier, and so does its base",
                where="model.algorithm.base",
                expected="an algorithm of a single generation, e.g. FixMatch",
            )
        return self.length if self.restart else None


@ALGORITHMS.register_module()
class CReSTPlus(CReST):
    """CReST with progressive distribution alignment (`ProgressiveAlignment`), after the base's own alignments.

    Args:
        base, generations, restart, alpha, picks: see `CReST`.
        t_min: exponent of the labeled class shares in the last generation; it is 1 in the first.
    """

    def __init__(
        self,
        base: Any,
        generations: int = 6,
        restart: bool = True,
        alpha: float = 3.0,
        t_min: float = 0.5,
        picks: dict | None = None,
    ):
        super().__init__(base, generations, restart, alpha, picks)
        self.align(ProgressiveAlignment(generations, last=t_min))
