"""SimMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.alignments.bank import BankSmoothing, LabeledBank
from ferbench.losses.instance import InstanceSimilarity
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class SimMatch(Matching):
    """Consistency of classes and of similarities to labeled items (Zheng et al. 2022, arXiv 2203.06915).

    Weak probabilities are aligned by a queue of batch means, then smoothed by the labels of similar labeled items;
    ``L = L_x + lambda_u * mean([max p >= threshold] * H(p, p_strong)) + weight * L_in``, L_in the cross-entropy between
    weak and strong view's similarities to the labeled items of a bank.

    Args:
        threshold: fixed confidence threshold.
        alpha: how much of its own pseudo-label an item keeps.
        weight: of L_in.
        length: batches of the alignment's queue.
        ema_teacher: the EMA model is the teacher, and its embeddings replace those of the bank.
        bank: arguments of `LabeledBank` (``temperature``, ``momentum``, ``size``, ``start``, ``dim``).
        parts: any other argument of `Matching`.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        alpha: float = 0.9,
        weight: float = 1.0,
        length: int = 32,
        ema_teacher: bool = False,
        bank: dict | None = None,
        **parts: Any,
    ):
        own = LabeledBank(**{"momentum": 0.0 if ema_teacher else 0.7, **(bank or {})})
        defaults = dict(
            alignment=[dict(type="QueueAlignment", length=length), BankSmoothing(alpha, own)],
            target=dict(type="SoftTarget", temperature=1.0),
            terms=[InstanceSimilarity(weight, own)],
            embedding="projection",
            judge="ema" if ema_teacher else "student",
        )
        super().__init__(threshold=dict(type="FixedThreshold", threshold=threshold), **{**defaults, **parts})
