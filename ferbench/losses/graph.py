"""CoMatch's contrast between the graph of pseudo-labels and the graph of embeddings."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import COUNT, NONNEGATIVE, POSITIVE, SHARE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.core.heads import ProjectionHead
from ferbench.distributed import gather_rows_with_grad
from ferbench.functional.graph import graph_contrast, pseudo_label_graph
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class GraphContrast(ExtraTerm):
    """Two strong views' embeddings are to be alike where the pseudo-labels are (CoMatch, arXiv 2011.11183, sec. 3).

    The graph connects all items of the global batch, so the result does not depend on the number of processes. Its target
    is made of the aligned pseudo-labels and carries no gradient. Embeddings: head ``projection``.

    Args:
        weight: factor in the total loss.
        threshold: similarity of pseudo-labels from which two items are connected.
        temperature: of the embeddings' similarity.
        dim: dimensions of the embedding.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> output = Output(torch.tensor([[20.0, 0.0], [0.0, 20.0]]), torch.zeros(2, 1), {"projection": torch.eye(2)})
    >>> step = make_step({"weak": output, "strong": output, "strong2": output}, weight=[1.0, 1.0])
    >>> GraphContrast(temperature=1.0)(step)
    tensor(0.3133)
    """

    name = "contrast"
    views = ("strong", "strong2")
    needs_gradient = ("strong", "strong2")

    def __init__(self, weight: float = 1.0, threshold: float = 0.8, temperature: float = 0.2, dim: int = 128):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, SHARE, threshold=threshold)
        check_numbers(self, POSITIVE, temperature=temperature)
        check_numbers(self, COUNT, dim=dim)
        self.weight, self.threshold, self.temperature, self.dim = weight, threshold, temperature, dim

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"projection": ProjectionHead(num_features, self.dim)}

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        first, second = (gather_rows_with_grad(step.outputs[v].heads["projection"]) for v in self.views)
        graph = pseudo_label_graph(step.evidence.probs, self.threshold)
        return graph_contrast(first, second, graph, self.temperature)
