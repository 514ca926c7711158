"""Supervised, consistency and extra losses as registered modules over `ferbench.functional.losses`."""

from ferbench.losses.annealed import AnnealedCrossEntropy
from ferbench.losses.base import Consistency, ExtraTerm, SupervisedLoss
from ferbench.losses.class_aware import ClassAwareContrast
from ferbench.losses.consistency import ConsistencyCrossEntropy, ConsistencyKL, ConsistencySquaredError
from ferbench.losses.entropy import EntropyTerm
from ferbench.losses.fairness import Fairness
from ferbench.losses.graph import GraphContrast
from ferbench.losses.instance import InstanceSimilarity
from ferbench.losses.labeled_strong import LabeledConsistency, LabeledStrongLoss
from ferbench.losses.low_confidence import LowConfidenceContrast, LowConfidenceKL
from ferbench.losses.low_confidence_divergence import LowConfidenceDivergence
from ferbench.losses.negative import SelectiveNegativeLearning, TrueNegativeConsistency
from ferbench.losses.rotation import RotationTerm
from ferbench.losses.supervised import SupervisedCrossEntropy
from ferbench.losses.view_consistency import ViewConsistency

__all__ = [
    "AnnealedCrossEntropy",
    "ClassAwareContrast",
    "Consistency",
    "ConsistencyCrossEntropy",
    "ConsistencyKL",
    "ConsistencySquaredError",
    "EntropyTerm",
    "ExtraTerm",
    "Fairness",
    "GraphContrast",
    "InstanceSimilarity",
    "LabeledConsistency",
    "LabeledStrongLoss",
    "LowConfidenceContrast",
    "LowConfidenceDivergence",
    "LowConfidenceKL",
    "RotationTerm",
    "SelectiveNegativeLearning",
    "SupervisedCrossEntropy",
    "SupervisedLoss",
    "TrueNegativeConsistency",
    "ViewConsistency",
]
