"""Pseudo-label rules: what the strong view is asked to predict."""

from ferbench.targets.agreement import AgreedTarget
from ferbench.targets.dash import DashTarget
from ferbench.targets.refined import RefinedTarget
from ferbench.targets.rules import HardTarget, SoftTarget, TargetRule

__all__ = [
    "AgreedTarget",
    "DashTarget",
    "HardTarget",
    "RefinedTarget",
    "SoftTarget",
    "TargetRule",
]
