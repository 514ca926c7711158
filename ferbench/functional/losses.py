"""Loss formulas. Every mean is over the whole batch: the divisor is the batch size, never the number of selected items."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ferbench.functional.probabilities import as_probabilities


def cross_entropy(logits: Tensor, target: Tensor, class_weight: Tensor | None = None) -> Tensor:
    """Cross-entropy per item.

    Args:
        logits: [B, C].
        target: [B] class indices, or [B, C] probabilities.
        class_weight: [C] factors on the classes, or None.

    Returns:
        [B] float32 (computed in float32 also under autocast).

    >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """
    if target.is_floating_point():
        target = target.float()
    return F.cross_entropy(logits.float(), target, weight=class_weight, reduction="none")


def squared_error(logits: Tensor, target: Tensor) -> Tensor:
    """Squared distance between the predicted probabilities and the target, mean over the classes.

    Args:
        logits: [B, C].
        target: [B] class indices, or [B, C] probabilities.

    Returns:
        [B] float32.

    >>> squared_error(torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.2500])
    """
    probs = logits.float().softmax(dim=1)
    return (probs - as_probabilities(target, probs.shape[1])).square().mean(dim=1)


def kl_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """``KL(target || softmax(logits)) = sum_c t_c (log t_c - log p_c)`` per item.

    Args:
        logits: [B, C].
        target: [B] class indices, or [B, C] probabilities; ``0 log 0 = 0``.

    Returns:
        [B] float32.

    >>> kl_divergence(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    tensor([0.6931, 0.0000])
    """
    certain = as_probabilities(target, logits.shape[1])
    return cross_entropy(logits, target) - torch.special.entr(certain).sum(dim=1)


def entropy(logits: Tensor) -> Tensor:
    """``-sum_c p_c log p_c`` of the predicted probabilities; [B, C] -> [B] float32.

    >>> entropy(torch.zeros(1, 4)).exp()
    tensor([4.])
    """
    log_probs = logits.float().log_softmax(dim=1)
    return -(log_probs.exp() * log_probs).sum(dim=1)


def weighted_mean(per_item: Tensor, weight: Tensor) -> Tensor:
    """``mean_i(weight_i * loss_i)`` over the whole batch; [B], [B] -> [].

    >>> weighted_mean(torch.tensor([2.0, 4.0]), weight=torch.tensor([1.0, 0.0]))
    tensor(1.)
    """
    return (per_item * weight).mean()


def rampup(iteration: int, max_iters: int, fraction: float) -> float:
    """Linear ramp ``clip(it / (fraction * max_iters), 0, 1)``; 0 at the first step, 1 if ``fraction`` is 0.

    >>> [rampup(iteration, max_iters=100, fraction=0.5) for iteration in (0, 25, 50, 100)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return 1.0 if fraction == 0 else min(max(iteration / (fraction * max_iters), 0.0), 1.0)


def masked_contrast(first: Tensor, second: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """SimCLR loss between two views of the items of weight 1 (SupCon without labels; arXiv 2004.11362, eq. 1).

    Items of weight 0 are neither anchors nor negatives. Written with masks instead of boolean indexing, so that no
    shape depends on data (no device sync, compilable).

    Args:
        first, second: [B, D] L2-normalised features of the two views.
        weight: [B] 0 or 1.
        temperature: > 0.

    Returns:
        Mean over the anchors (two per kept item); 0 when no item or a single one is kept.

    >>> same = torch.eye(2)
    >>> masked_contrast(same, same, weight=torch.ones(2), temperature=1.0)
    tensor(0.5514)
    >>> masked_contrast(same, same, weight=torch.tensor([1.0, 0.0]), temperature=1.0)
    tensor(0.)
    """
    features = torch.cat([first, second]).float()
    keep = torch.cat([weight, weight]).to(features.dtype)
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    log_prob = _log_share(features, itself | (keep == 0)[None, :], temperature)
    batch = len(first)
    partner = torch.arange(2 * batch, device=features.device).roll(batch)
    per_anchor = -log_prob.gather(1, partner[:, None]).squeeze(1)
    per_anchor = torch.where(keep > 0, per_anchor, torch.zeros_like(per_anchor))
    return per_anchor.sum() / keep.sum().clamp(min=1)


def class_aware_contrast(first: Tensor, second: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Supervised contrast between two views, each pair of items with a weight of its own (arXiv 2004.11362, eq. 2).

    ``mean over the anchors a of - sum_b P_ab log s_ab / sum_b P_ab``, where s_ab is the share of the row b in the
    similarities of a to all other rows, and a row is never its own positive.

    Args:
        first, second: [B, D] L2-normalised features of the two views.
        positives: [B, B] >= 0, how much item j is a positive of item i; the diagonal, which stands for the other view of
            an item, is above 0.
        temperature: > 0.

    Returns:
        [], mean over 2 B anchors.

    >>> same = torch.eye(2)
    >>> class_aware_contrast(same, same, positives=torch.eye(2), temperature=1.0)
    tensor(0.5514)
    """
    features = torch.cat([first, second]).float()
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    pairs = positives.float().repeat(2, 2).masked_fill(itself, 0.0)
    log_prob = _log_share(features, itself, temperature).masked_fill(itself, 0.0)
    return -((pairs * log_prob).sum(dim=1) / pairs.sum(dim=1)).mean()


def _log_share(features: Tensor, excluded: Tensor, temperature: float) -> Tensor:
    """[N, N] logarithm of each row's share in the similarities of an anchor to all rows but the excluded [N, N] ones."""
    with torch.autocast(features.device.type, enabled=False):  # 1 / temperature magnifies bfloat16's rounding
        similarity = features @ features.t() / temperature
    # A finite stand-in for -inf keeps rows without any partner free of NaN.
    return similarity - torch.logsumexp(similarity.masked_fill(excluded, -1e9), dim=1, keepdim=True)


def complement_log_probs(logits: Tensor) -> Tensor:
    """``log(1 - p_c)`` of every class: how sure the network is that an item is *not* of class c.

    From the logits of the other classes: 1 - p_c itself loses all digits where p_c is near 1, and its gradient vanishes.

    Args:
        logits: [B, C].

    Returns:
        [B, C] float32, <= 0.

    >>> complement_log_probs(torch.tensor([[0.0, 0.0]])).exp()
    tensor([[0.5000, 0.5000]])
    """
    logits = logits.float()
    classes = logits.shape[1]
    own = torch.eye(classes, dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].expand(-1, classes, -1).masked_fill(own, -torch.inf)
    return others.logsumexp(dim=2) - logits.logsumexp(dim=1, keepdim=True)


def keep_largest(probs: Tensor, number: int) -> Tensor:
    """Which classes are among the ``number`` most probable ones of their row: bool [B, C] (more where some are equal).

    >>> keep_largest(torch.tensor([[0.5, 0.3, 0.2]]), number=2)
    tensor([[ True,  True, False]])
    """
    return probs >= probs.topk(number, dim=1).values[:, -1:]
