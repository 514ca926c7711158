"""Supervised, consistency and extra losses as registered modules over `ferbench.functional.losses`."""

from ferbench.losses.annealed import AnnealedCrossEntropy
from ferbench.losses.base import Consistency, ExtraTerm, SupervisedLoss
from ferbench.losses.class_aware import ClassAwareContrast
from ferbench.losses.consistency import ConsistencyCrossEntropy, ConsistencyKL, ConsistencySquaredError
from ferbench.losses.distance import FeatureDistance
from ferbench.losses.entropy import EntropyTerm
from ferbench.losses.fairness import Fairness
from ferbench.losses.graph import GraphContrast
from ferbench.losses.imbalance import LogitAdjusted, Reweighted
from ferbench.losses.instance import InstanceSimilarity
from ferbench.losses.labeled_strong import LabeledConsistency, LabeledStrongLoss
from ferbench.losses.low_confidence import LowConfidenceContrast, LowConfidenceKL
from ferbench.losses.low_confidence_divergence import LowConfidenceDivergence
from ferbench.losses.negative import SelectiveNegativeLearning, TrueNegativeConsistency
from ferbench.losses.picked import PickedItems
from ferbench.losses.rarity import RarityWeightedConsistency
from ferbench.losses.rotation import RotationTerm
from ferbench.losses.second_head import AuxiliaryBalancedLoss, TailEnhancedLoss, TransferLoss
from ferbench.losses.semantic import SemanticAlignment
from ferbench.losses.supervised import SupervisedCrossEntropy
from ferbench.losses.view_consistency import ViewConsistency
from ferbench.losses.view_divergence import ViewDivergence

__all__ = [
    "AnnealedCrossEntropy",
    "AuxiliaryBalancedLoss",
    "ClassAwareContrast",
    "Consistency",
    "ConsistencyCrossEntropy",
    "ConsistencyKL",
    "ConsistencySquaredError",
    "EntropyTerm",
    "ExtraTerm",
    "Fairness",
    "FeatureDistance",
    "GraphContrast",
    "InstanceSimilarity",
    "LabeledConsistency",
    "LabeledStrongLoss",
    "LogitAdjusted",
    "LowConfidenceContrast",
    "LowConfidenceDivergence",
    "LowConfidenceKL",
    "PickedItems",
    "RarityWeightedConsistency",
    "Reweighted",
    "RotationTerm",
    "SelectiveNegativeLearning",
    "SemanticAlignment",
    "SupervisedCrossEntropy",
    "SupervisedLoss",
    "TailEnhancedLoss",
    "TransferLoss",
    "TrueNegativeConsistency",
    "ViewConsistency",
    "ViewDivergence",
]
