"""CReST+'s progressive distribution alignment."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from ferbench.alignments.distribution import EMAAlignment
from ferbench.arguments import COUNT, NONNEGATIVE, check_numbers
from ferbench.lifecycle import RunContext
from ferbench.registry import ALIGNMENTS


@ALIGNMENTS.register_module()
class ProgressiveAlignment(EMAAlignment):
    """`EMAAlignment` to ``labeled^t``, normalised; t falls from generation to generation (CReST+, arXiv 2102.09559, sec. 3.4).

    Generation g of G has ``t = (1 - g / (G - 1)) * first + g / (G - 1) * last``: from the labeled set's class shares (1)
    towards equal ones (0).

    Args:
        generations: G, of ``ceil(max_iters / G)`` iterations each.
        first, last: t of the first and of the last generation.
        momentum, eps: see `EMAAlignment`.

    Buffers:
        Those of `EMAAlignment`; p_target is the labeled set's shares.

    >>> rule = ProgressiveAlignment(generations=2, first=1.0, last=0.0)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(3, 1)))
    >>> rule.aim(iteration=0), rule.aim(iteration=50)
    (tensor([0.7500, 0.2500]), tensor([0.5000, 0.5000]))
    """

    def __init__(
        self,
        generations: int = 6,
        first: float = 1.0,
        last: float = 0.5,
        momentum: float = 0.999,
        eps: float = 1e-6,
    ):
        super().__init__("labeled", momentum, eps)
        check_numbers(self, COUNT, generations=generations)
        check_numbers(self, NONNEGATIVE, first=first, last=last)
        self.generations, self.first, self.last = generations, first, last

    @override
    def bind(self, context: RunContext) -> None:
        super().bind(context)
        self.length = context.generation_length(self.generations)

    @override
    def aim(self, iteration: int) -> Tensor:
        done = (iteration // self.length) / max(self.generations - 1, 1)
        scaled = self.p_target ** (self.first + done * (self.last - self.first))
        return scaled / scaled.sum()
