"""Supervised, consistency and extra losses as registered modules over `ferbench.functional.losses`."""

from ferbench.losses.base import ExtraTerm
from ferbench.losses.consistency import ConsistencyCrossEntropy
from ferbench.losses.low_confidence import LowConfidenceContrast, LowConfidenceKL
from ferbench.losses.supervised import SupervisedCrossEntropy

__all__ = [
    "ConsistencyCrossEntropy",
    "ExtraTerm",
    "LowConfidenceContrast",
    "LowConfidenceKL",
    "SupervisedCrossEntropy",
]
