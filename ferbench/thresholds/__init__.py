"""Stateful threshold rules: ``weight = rule(evidence)``; one file per rule, state in buffers."""

from ferbench.lifecycle import DatasetPass, RunContext
from ferbench.thresholds.adsh import AdshThreshold
from ferbench.thresholds.base import Evidence, ThresholdRule
from ferbench.thresholds.dtm import DynamicThreshold
from ferbench.thresholds.fixed import FixedThreshold
from ferbench.thresholds.flexmatch import FlexThreshold
from ferbench.thresholds.otx import OTXMargin

__all__ = [
    "AdshThreshold",
    "DatasetPass",
    "DynamicThreshold",
    "Evidence",
    "FixedThreshold",
    "FlexThreshold",
    "OTXMargin",
    "RunContext",
    "ThresholdRule",
]
