"""Alignments: what is done to the weak view's probabilities before threshold and target. One file per rule."""

from ferbench.alignments.bank import BankSmoothing, LabeledBank
from ferbench.alignments.base import AlignRule
from ferbench.alignments.debiased import DebiasedAlignment
from ferbench.alignments.distribution import EMAAlignment, QueueAlignment
from ferbench.alignments.label_shift import LabelShiftAlignment
from ferbench.alignments.memory import MemorySmoothing
from ferbench.alignments.prior import PriorRemoval
from ferbench.alignments.progressive import ProgressiveAlignment
from ferbench.alignments.semantic import Prototypes, SemanticBlend

__all__ = [
    "AlignRule",
    "BankSmoothing",
    "DebiasedAlignment",
    "EMAAlignment",
    "LabelShiftAlignment",
    "LabeledBank",
    "MemorySmoothing",
    "PriorRemoval",
    "ProgressiveAlignment",
    "Prototypes",
    "QueueAlignment",
    "SemanticBlend",
]
