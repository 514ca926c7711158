"""Similarities between embeddings, and the graphs and averages that contrastive methods build on them."""

from __future__ import annotations

import torch
from torch import Tensor

from ferbench.functional.probabilities import as_probabilities


def similarity(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """``f_i . g_j / T`` in float32, also under autocast: 1 / T would magnify bfloat16's rounding.

    Args:
        first: [B, D] L2-normalised embeddings.
        second: [K, D] others.
        temperature: T > 0.

    Returns:
        [B, K].

    >>> similarity(torch.tensor([[1.0, 0.0]]), torch.eye(2), temperature=0.5)
    tensor([[2., 0.]])
    """
    with torch.autocast(first.device.type, enabled=False):
        return first.float() @ second.float().t() / temperature


def neighbour_shares(queries: Tensor, keys: Tensor, filled: Tensor, temperature: float) -> Tensor:
    """``a_ij = exp(f_i . g_j / T) / sum_j exp(f_i . g_j / T)``: how much of each remembered item a query is made of.

    Args:
        queries: [B, D] L2-normalised embeddings.
        keys: [K, D] those of a memory.
        filled: [K] bool; rows not yet written get no share.
        temperature: T > 0.

    Returns:
        [B, K]; rows sum to 1, or to 0 where nothing is filled.

    >>> neighbour_shares(torch.tensor([[1.0, 0.0]]), torch.eye(2), filled=torch.tensor([True, False]), temperature=0.5)
    tensor([[1., 0.]])
    """
    # A finite stand-in for -inf keeps a memory without any row free of NaN.
    logits = similarity(queries, keys, temperature).masked_fill(~filled, -1e9)
    return logits.softmax(dim=1) * filled


def smooth(probs: Tensor, neighbours: Tensor, alpha: float) -> Tensor:
    """``alpha * p + (1 - alpha) * q``: a pseudo-label mixed with what its neighbours say.

    Args:
        probs: [B, C] p.
        neighbours: [B, C] q; rows sum to 1, or are 0 where there is no neighbour: the item then keeps all of its own.
        alpha: in [0, 1].

    Returns:
        [B, C] of probs' dtype; rows sum to 1.

    >>> smooth(torch.tensor([[0.8, 0.2]]), torch.tensor([[0.0, 1.0]]), alpha=0.9)
    tensor([[0.7200, 0.2800]])
    """
    own = 1 - (1 - alpha) * neighbours.sum(dim=1, keepdim=True)
    return (own * probs + (1 - alpha) * neighbours).to(probs.dtype)


def pseudo_label_graph(probs: Tensor, threshold: float) -> Tensor:
    """CoMatch's target graph: how alike two items' pseudo-labels are (Li et al. 2021, arXiv 2011.11183, sec. 3).

    ``W_ij = p_i . p_j`` where that reaches the threshold, else 0; 1 on the diagonal; then every row is normalised.

    Args:
        probs: [B, C] pseudo-labels.
        threshold: similarity from which two items are connected.

    Returns:
        [B, B]; rows sum to 1.

    >>> pseudo_label_graph(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), threshold=0.8)
    tensor([[0.5000, 0.5000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    with torch.autocast(probs.device.type, enabled=False):
        graph = probs.float() @ probs.float().t()
    itself = torch.eye(len(probs), dtype=torch.bool, device=probs.device)
    graph = torch.where(graph >= threshold, graph, torch.zeros_like(graph)).masked_fill(itself, 1.0)
    return graph / graph.sum(dim=1, keepdim=True)


def graph_contrast(first: Tensor, second: Tensor, graph: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between a target graph and the graph of two views' embeddings (CoMatch, arXiv 2011.11183, sec. 3).

    ``mean_i(- sum_j graph_ij log(s_ij + 1e-7))``, s_ij the share of ``exp(f_i . g_j / T)`` in its row. The small number
    is that of the authors' code.

    Args:
        first, second: [B, D] L2-normalised embeddings of two views.
        graph: [B, B], rows sum to 1; no gradient.
        temperature: T > 0.

    Returns:
        [].

    >>> graph_contrast(torch.eye(2), torch.eye(2), graph=torch.eye(2), temperature=1.0)
    tensor(0.3133)
    """
    shares = similarity(first, second, temperature).softmax(dim=1)
    return -(graph * (shares + 1e-7).log()).sum(dim=1).mean()


def class_totals(shares: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """``sum_j a_ij [label_j = c]``: the shares of remembered items, added up per class.

    Args:
        shares: [B, K].
        labels: [K] classes, -1 for none.
        num_classes: C.

    Returns:
        [B, C].

    >>> class_totals(torch.tensor([[0.5, 0.25, 0.25]]), labels=torch.tensor([1, 0, 1]), num_classes=2)
    tensor([[0.2500, 0.7500]])
    """
    with torch.autocast(shares.device.type, enabled=False):
        return shares @ as_probabilities(labels, num_classes)


def class_scaled(shares: Tensor, probs: Tensor, labels: Tensor) -> Tensor:
    """``a_ij p_i[label_j]``, rows normalised: SimMatch's instance target (Zheng et al. 2022, arXiv 2203.06915, sec. 3).

    Args:
        shares: [B, K].
        probs: [B, C].
        labels: [K] classes; any number where the share is 0.

    Returns:
        [B, K]; rows sum to 1, or to less where the neighbours' classes have no probability.

    >>> class_scaled(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]]), labels=torch.tensor([0, 1]))
    tensor([[0.7500, 0.2500]])
    """
    scaled = shares * probs.float()[:, labels.clamp(min=0)]
    return scaled / scaled.sum(dim=1, keepdim=True).clamp_min(1e-12)
