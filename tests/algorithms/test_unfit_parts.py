"""Parts that cannot do their work are refused when they are built: a method that is missing, a part of another kind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ferbench.algorithms.matching import Matching
from ferbench.alignments.base import AlignRule
from ferbench.core.parts import build
from ferbench.data.datasets.base import FaceDataset
from ferbench.errors import UserError
from ferbench.losses.base import Consistency, ExtraTerm, SupervisedLoss
from ferbench.registry import DATASETS, MODELS
from ferbench.targets.rules import HardTarget, TargetRule
from ferbench.thresholds import FixedThreshold, ThresholdRule


def without_forward(base: type) -> type:
    return type("Mine", (base,), {})


class Plain(nn.Module):
    def forward(self, evidence):
        return torch.ones(len(evidence.probs))


SECTIONS = {
    "threshold": ThresholdRule, "alignment": AlignRule, "target": TargetRule, "consistency": Consistency,
    "supervised_loss": SupervisedLoss, "terms": ExtraTerm,
}  # fmt: skip


def matching(section: str, kind: type) -> Matching:
    given = {"type": kind}
    options = {section: [given] if section == "terms" else given}
    return Matching(**{"threshold": dict(type="FixedThreshold", threshold=0.5), **options})


@pytest.mark.parametrize("section", SECTIONS)
def test_a_part_without_forward(section):
    """Of every kind of part."""
    with pytest.raises(UserError, match="Mine has no forward") as error:
        matching(section, without_forward(SECTIONS[section]))
    assert f"model.algorithm.{section}" in str(error.value)
    assert "write `def forward` in it" in str(error.value)


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        (section, kind)
        for section, base in SECTIONS.items()
        for kind in (Plain, nn.Linear, dict, HardTarget, FixedThreshold)
        if not issubclass(kind, base)
    ],
)
def test_a_part_of_another_kind(section, kind):
    """A plain module, a class of another library, a part of another section."""
    with pytest.raises(UserError, match=f"{kind.__name__} cannot be used here") as error:
        matching(section, kind)
    assert f"extends {SECTIONS[section].__name__}" in str(error.value)


def test_what_the_message_names_can_be_used():
    with pytest.raises(UserError) as error:
        matching("threshold", Plain)
    names = error.value.fix.removeprefix("known: ").split(", ")
    assert "FixedThreshold" in names
    assert "FlexThreshold" in names


@pytest.mark.parametrize(("registry", "base", "lacks"), [
    (MODELS, nn.Module, "forward"), (DATASETS, FaceDataset, "item_id and no read"),
])  # fmt: skip
def test_models_and_data_sets_too(registry, base, lacks):
    with pytest.raises(UserError, match=f"Mine has no {lacks}"):
        build(registry, {"type": without_forward(base)}, "somewhere")
