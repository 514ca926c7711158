"""Random draws of the parts of a step: two batches of one iteration (micro-batches) must not draw the same numbers."""

from __future__ import annotations

import pytest
import torch

from ferbench.testing.experiment import Experiment

FIXMATCH = dict(type="FixMatch", threshold=0.3)
#: Every algorithm that draws by itself, and what it draws.
DRAWING = {
    "MixMatch": dict(ramp=0.0),  # partners and their share
    "ICT": dict(ramp=0.0),
    "ReMixMatch": dict(ramp=0.0, alpha=1e6, lambda_u=0.0),  # all but the angles drop out: mixtures are halves
    "CRMatch": dict(),  # angles
    "VAT": dict(ramp=0.0),  # where the power iteration starts
    "ABC": dict(base=FIXMATCH),  # what is kept
    "CoSSL": dict(base=FIXMATCH),  # what is mixed
}


def losses(config: dict, numbers: list[int]) -> list[dict[str, torch.Tensor]]:
    """Parts of the loss of the same batch of iteration 6, given several numbers."""
    experiment = Experiment(config)
    for name, buffer in experiment.model.algorithm.named_buffers():
        if name.endswith("rate"):  # of keeping or mixing an item: 1 or 0 where the classes are balanced
            buffer.fill_(0.5)
    batch = experiment._batch(None)
    made = []
    for number in numbers:
        torch.manual_seed(0)
        made.append(experiment.model(batch, 6, *([number] if number >= 0 else [])))
    return [{"loss": result.loss.detach(), **result.parts} for result in made]


@pytest.mark.parametrize("name", DRAWING)
def test_other_batches_of_an_iteration_draw_other_numbers(name) -> None:
    default, own, again, other = losses(dict(type=name, **DRAWING[name]), [-1, 6, 7, 8])
    assert default == own  # without micro-batches a batch's number is the iteration
    assert own != again
    assert again != other
