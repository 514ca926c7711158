"""EACM."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.adacm import AdaCM
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class EACM(AdaCM):
    """Enhanced adaptive confidence margin: Ada-CM's margin from every training iteration (Li et al., TPAMI 2025).

    The abstract (doi 10.1109/TPAMI.2025.3612953) says that the margin is learnt from the labeled items' predictions at each
    training iteration, and that the two weak features of an item below it are pulled together. Neither code nor formula
    could be found. Our reading: mu_c is a running mean, over the iterations, of the mean confidence of the
    batch's correctly predicted labeled items of class c; a class that the batch lacks keeps its mean; everything else is
    that of `AdaCM`, its ramp over epochs included. No pass over the labeled set is needed.

    Args:
        momentum: of the running mean; our choice.
        rule: any other argument of `DynamicThreshold`.
        recipe: any other argument of `AdaCM`.
    """

    def __init__(self, momentum: float = 0.99, rule: dict | None = None, **recipe: Any):
        super().__init__(rule=dict(scope="iteration", momentum=momentum) | (rule or {}), **recipe)
