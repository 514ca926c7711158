"""One small file per algorithm, over one shared step."""

from ferbench.algorithms.base import Algorithm, Batch, Network, PseudoLabels, StepResult, Views
from ferbench.algorithms.dtm import DTM
from ferbench.algorithms.fixmatch import FixMatch
from ferbench.algorithms.flexmatch import FlexMatch
from ferbench.algorithms.matching import Matching, MatchingStep
from ferbench.algorithms.pseudolabel import PseudoLabel
from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.algorithms.supervised import Supervised, SupervisedOracle

__all__ = [
    "DTM",
    "Algorithm",
    "Batch",
    "FixMatch",
    "FlexMatch",
    "Matching",
    "MatchingStep",
    "Network",
    "PseudoLabel",
    "PseudoLabels",
    "Rebalancing",
    "StepResult",
    "Supervised",
    "SupervisedOracle",
    "Views",
]
