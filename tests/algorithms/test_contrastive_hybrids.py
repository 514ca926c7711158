"""Parts of the contrastive methods in other company, and the forms of them that are not the default."""

from __future__ import annotations

import pytest

from ferbench.testing import check_algorithm

CONFIGS = {
    "SimMatch judged by the EMA model, its bank a ring": dict(
        type="SimMatch", threshold=0.4, ema_teacher=True, bank=dict(start=1, size=6)
    ),
    "MultiMatch over FlexMatch's curriculum": dict(
        type="MultiMatch", agreement=dict(epoch_length=2, rule=dict(type="FlexThreshold"), combine="all")
    ),
    "CRMatch without rotation, the weak view at rest": dict(
        type="CRMatch", threshold=0.4, rotation=0.0, weak_gradient=False
    ),
    "FlexMatch with all of them": dict(
        type="FlexMatch",
        threshold=0.5,
        alignment=[
            dict(type="EMAAlignment"),
            dict(type="MemorySmoothing", start=1),
            dict(type="BankSmoothing", bank=dict(start=0)),
        ],
        embedding="projection",
        terms=[
            dict(type="GraphContrast"),
            dict(type="InstanceSimilarity", bank=dict(start=0)),
            dict(type="ViewDivergence", view="strong2", target="medium", items="unselected"),
            dict(type="FeatureDistance"),
            dict(type="LowConfidenceKL"),
        ],
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_conformance(config) -> None:
    check_algorithm(config, processes=False)
