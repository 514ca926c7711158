"""Pseudo-labels and predictions under the class shares of the unlabeled images."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from ferbench.algorithms.mixing import Mixing
from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.alignments.label_shift import LabelShiftAlignment
from ferbench.contracts import Output
from ferbench.errors import UserError
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class LabelShift(Rebalancing):
    """The classifier learns labeled images under their class shares pi, all others under the unlabeled ones' q.

    ``p = softmax(f + log(q / pi))`` makes the pseudo-labels, learns them, and predicts; the labeled loss sees f alone. q is
    estimated, see `LabelShiftAlignment`. For labels that are drawn evenly while faces come as they are; it takes for
    granted that the test images have the unlabeled ones' shares. Where the labels have these already it gains
    nothing, and with a classifier of one-sided mistakes the estimate runs away (``docs/results/fer2013.md``). Ours.

    Args:
        base: the algorithm underneath.
        momentum, warmup: of the estimate.
        learning: whether q counts in pseudo-labels and their loss; False: the base is trained as it is, and q is estimated
            beside it for the prediction.
        prediction: whether q counts in the prediction; False: predictions are those of the base, under pi.

    Raises:
        UserError: the base makes no pseudo-labels of weak views, or mixes labeled with unlabeled images.
    """

    def __init__(
        self,
        base: Any,
        momentum: float = 0.999,
        warmup: float = 0.1,
        learning: bool = True,
        prediction: bool = True,
    ):
        super().__init__(base)
        _ = self.weak_views  # refuses a base without any: the estimate needs every step's predictions
        if isinstance(self.matching, Mixing) and self.matching.mix_labeled:
            raise UserError(
                "LabelShift learns labeled and unlabeled images under different class shares, but "
                f"{type(self.matching).__name__} mixes them",
                where="model.algorithm.base",
                expected="an algorithm that mixes no labeled images, e.g. FixMatch",
                fix="set mix_labeled=False in the base",
            )
        rule = LabelShiftAlignment(momentum, warmup, applied=learning)
        self.align(rule)
        self._shift = rule.shift  # of the rule, which the base owns
        self.shifts_prediction = prediction

    @override
    def prediction(self, output: Output) -> Tensor:
        logits = super().prediction(output)
        return logits + self._shift() if self.shifts_prediction else logits
