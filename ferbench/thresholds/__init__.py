"""Stateful threshold rules: ``weight = rule(evidence)``; one file per rule, state in buffers."""

from ferbench.thresholds.base import Evidence, LabeledPass, RunContext, ThresholdRule
from ferbench.thresholds.dtm import DynamicThreshold
from ferbench.thresholds.fixed import FixedThreshold
from ferbench.thresholds.flexmatch import FlexThreshold

__all__ = [
    "DynamicThreshold",
    "Evidence",
    "FixedThreshold",
    "FlexThreshold",
    "LabeledPass",
    "RunContext",
    "ThresholdRule",
]
