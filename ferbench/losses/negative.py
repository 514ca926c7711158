"""Learning what an item is not, from the items whose pseudo-label is not trusted. Extra terms: ``term(step) -> loss``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import NONNEGATIVE, POSITIVE, Numbers, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.functional.losses import complement_log_probs, cross_entropy, keep_largest, weighted_mean
from ferbench.lifecycle import RunContext
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class SelectiveNegativeLearning(ExtraTerm):
    """Lowers the probability of classes that an unselected item hardly can be: our reading of SNL (arXiv 2601.05556).

    ``mean_i (1 - w_i) / |N_i| * sum over c in N_i of -log(1 - p_ic)`` over the whole batch, ``N_i = {c: q_ic < level}``:
    q are the teacher's probabilities of the weak view, p those of ``view``; an item without such a class counts 0. Negative
    learning itself is that of Kim et al. (NLNL, arXiv 1908.07387, eq. 2). That complementary labels of low-confidence
    items are learnt is said in the abstract of the paper; how they are chosen could not be checked.

    Args:
        weight: factor in the total loss.
        level: probability below which a class is a complementary label; at most 1 / C, so that the top class never is.
        view: the view that learns.

    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> weak, strong = (Output(torch.tensor([[z, 0.0]]), torch.zeros(1, 1)) for z in (9.0, 0.0))
    >>> SelectiveNegativeLearning()(make_step({"weak": weak, "strong": strong}, weight=[0.0]))
    tensor(0.6931)
    """

    name = "negative"

    def __init__(self, weight: float = 1.0, level: float = 0.05, view: str = "strong"):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        self.weight, self.level, self.view = weight, level, view
        self.views = self.needs_gradient = (view,)

    @override
    def bind(self, context: RunContext) -> None:
        classes = context.num_classes
        allowed = Numbers(f"above 0 and at most 1 / {classes} classes", POSITIVE.low, 1 / classes)
        check_numbers(self, allowed, level=self.level)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        negative = (step.probs < self.level).float()
        losses = -complement_log_probs(step.outputs[self.view].logits) * negative
        per_item = losses.sum(dim=1) / negative.sum(dim=1).clamp(min=1)
        return weighted_mean(per_item, 1.0 - step.weight)


@LOSSES.register_module()
class TrueNegativeConsistency(ExtraTerm):
    """MutexMatch's second classifier, which says what an item is not (Duan et al. 2022, arXiv 2203.14316).

    A linear head r on the features learns, for every image of the step and without a gradient to the features, the class
    that the classifier p finds *least* likely; and the unselected items are to be "not" the same in both views:

    ``L = mean_j H(argmin p_j, r_j) + mean_i (1 - w_i) * H(r_i,weak, r_i,strong)``, means over labeled, weak and strong
    images, and over the unlabeled batch; r_weak without gradient. With ``degree`` k only the k largest entries of r_weak
    are compared: as in the authors' code the others are 0 in the target, which is not renormalised, and 0 among the
    strong view's logits. The code was read, the text of the paper was not available.

    Args:
        weight: factor in the total loss.
        degree: k, from 1 to C; None: all classes (the authors' default; they also use 0.6 C).

    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> output = Output(torch.tensor([[0.0, 0.0]]), torch.zeros(1, 1), {"true_negative": torch.tensor([[0.0, 0.0]])})
    >>> step = make_step({"labeled": output, "weak": output, "strong": output}, weight=[0.0])
    >>> step.network.layers = {"true_negative": lambda features: torch.zeros(len(features), 2)}
    >>> TrueNegativeConsistency()(step)
    tensor(1.3863)
    """

    name = "true_negative"
    views = ("weak", "strong")
    needs_gradient = ("strong",)

    def __init__(self, weight: float = 1.0, degree: int | None = None):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        self.weight, self.degree = weight, degree

    @override
    def bind(self, context: RunContext) -> None:
        classes = context.num_classes
        allowed = Numbers(f"a number of classes from 1 to {classes}", 1, classes, whole=True)
        check_numbers(self, allowed, or_none=True, degree=self.degree)

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"true_negative": nn.Linear(num_features, num_classes)}

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        return self._separation(step) + self._agreement(step)

    def _separation(self, step: MatchingStep) -> Tensor:
        outputs = [step.outputs[name] for name in ("labeled", *self.views)]
        features = torch.cat([output.features for output in outputs]).detach()
        least = torch.cat([output.logits for output in outputs]).argmin(dim=1)
        return cross_entropy(step.network.head("true_negative", features), least).mean()

    def _agreement(self, step: MatchingStep) -> Tensor:
        weak, strong = (step.outputs[view].heads["true_negative"].float() for view in self.views)
        target = weak.detach().softmax(dim=1)
        if self.degree is not None:
            kept = keep_largest(target, self.degree)
            target, strong = target * kept, strong * kept
        return weighted_mean(cross_entropy(strong, target), 1.0 - step.weight)
