"""Supervised, consistency and extra losses as registered modules over `ferbench.functional.losses`."""

from ferbench.losses.base import Consistency, ExtraTerm, SupervisedLoss
from ferbench.losses.consistency import ConsistencyCrossEntropy, ConsistencySquaredError
from ferbench.losses.low_confidence import LowConfidenceContrast, LowConfidenceKL
from ferbench.losses.rotation import RotationTerm
from ferbench.losses.supervised import SupervisedCrossEntropy

__all__ = [
    "Consistency",
    "ConsistencyCrossEntropy",
    "ConsistencySquaredError",
    "ExtraTerm",
    "LowConfidenceContrast",
    "LowConfidenceKL",
    "RotationTerm",
    "SupervisedCrossEntropy",
    "SupervisedLoss",
]
