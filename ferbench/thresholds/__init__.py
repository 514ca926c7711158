"""Stateful threshold rules: ``weight = rule(evidence)``; one file per rule, state in buffers."""

from ferbench.contracts import Evidence
from ferbench.lifecycle import DatasetPass, RunContext
from ferbench.thresholds.adamatch import RelativeThreshold
from ferbench.thresholds.adsh import AdshThreshold
from ferbench.thresholds.agreement import HeadAgreement
from ferbench.thresholds.base import ThresholdRule
from ferbench.thresholds.dash import DashThreshold
from ferbench.thresholds.dtm import DynamicThreshold
from ferbench.thresholds.fixed import FixedThreshold
from ferbench.thresholds.flexmatch import FlexThreshold
from ferbench.thresholds.freematch import SelfAdaptiveThreshold
from ferbench.thresholds.held_out import HeldOutThreshold
from ferbench.thresholds.otx import OTXMargin
from ferbench.thresholds.softmatch import TruncatedGaussian

__all__ = [
    "AdshThreshold",
    "DashThreshold",
    "DatasetPass",
    "DynamicThreshold",
    "Evidence",
    "FixedThreshold",
    "FlexThreshold",
    "HeadAgreement",
    "HeldOutThreshold",
    "OTXMargin",
    "RelativeThreshold",
    "RunContext",
    "SelfAdaptiveThreshold",
    "ThresholdRule",
    "TruncatedGaussian",
]
