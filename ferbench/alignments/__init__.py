"""Alignments: what is done to the weak view's probabilities before threshold and target. One file per rule."""

from ferbench.alignments.base import AlignRule
from ferbench.alignments.distribution import EMAAlignment, QueueAlignment

__all__ = ["AlignRule", "EMAAlignment", "QueueAlignment"]
