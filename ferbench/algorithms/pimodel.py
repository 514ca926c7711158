"""Pi-Model and Mean Teacher."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class PiModel(Matching):
    """Two weak views of an image are to be predicted alike (Laine & Aila 2017, arXiv 1610.02242, alg. 1).

    ``L = L_x + lambda_u * ramp * mean_i(mean_c (p(weak2)_ic - p(weak)_ic)^2)``; no gradient reaches the first view, every
    item counts. The weight is that of common code, not of the paper, whose ramp is not linear.

    Batch-norm: the unlabeled views pass apart from the labeled ones and stay out of the running statistics, as in common
    code. Normalised together, few labels were learned worse (``docs/results/synthetic.md``).

    Args:
        lambda_u: weight of the consistency loss.
        ramp: fraction of the run over which lambda_u grows from 0.
        parts: any argument of `Matching`.
    """

    def __init__(self, lambda_u: float = 10.0, ramp: float = 0.4, **parts: Any):
        defaults = dict(
            threshold=dict(type="FixedThreshold", threshold=0.0),
            target=dict(type="SoftTarget", temperature=1.0),
            consistency=dict(type="ConsistencySquaredError"),
            prediction_view="weak2",
            unlabeled_statistics=False,
        )
        super().__init__(lambda_u=lambda_u, ramp=ramp, **{**defaults, **parts})


@ALGORITHMS.register_module()
class MeanTeacher(PiModel):
    """The Pi-Model whose targets come from the EMA model (Tarvainen & Valpola 2017, arXiv 1703.01780, eq. 1).

    ``L = L_x + lambda_u * ramp * mean_i(mean_c (p(weak2)_ic - p_ema(weak)_ic)^2)``. The EMA model predicts in
    training mode (dropout, batch-norm by the batch), as in the authors' code; its running statistics stay the average of the
    trained model's. ``judge="ema"``: in evaluation mode. For batch-norm of the trained model see `PiModel`. The weight is
    that of common code for long runs; the shipped configs have 1 for short ones (``docs/results/synthetic.md``) and 10.

    Args:
        lambda_u: weight of the consistency loss.
        ramp: fraction of the run over which lambda_u grows from 0.
        parts: any argument of `Matching`.
    """

    def __init__(self, lambda_u: float = 50.0, ramp: float = 0.4, **parts: Any):
        super().__init__(lambda_u=lambda_u, ramp=ramp, **{"judge": "ema_training", **parts})
