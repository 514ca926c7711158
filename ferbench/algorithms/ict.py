"""Interpolation consistency."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.mixing import Mixing
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class ICT(Mixing):
    """A mixture of two unlabeled images is to be predicted as the mixture of the EMA model's predictions of both.

    Interpolation Consistency Training (Verma et al. 2019, arXiv 1903.03825, alg. 1), lambda ~ Beta(alpha, alpha):
    ``L = L_x + lambda_u * ramp * mean_i(mean_c (p(mix(u_i, u_j))_c - softmax(mix(z_ema(u_i), z_ema(u_j)))_c)^2)``,
    z: logits, which the authors' code mixes; ``mix_targets="probabilities"`` mixes their softmax, as the paper may be read.
    The second batch of the paper is the first one permuted, as in the authors' code. Labeled images are not mixed (the
    authors' code can, too: the paper's algorithm does not). The EMA model predicts in training mode (batch-norm by the
    batch), as in their code. The ramp is linear here. Mixed images stay out of batch-norm's running statistics, as in
    common code. Weight, alpha and ramp are those of the authors' command for CIFAR-10; for short runs the shipped configs
    have weight 10 and ramp 0.4, for the reason given at `MixMatch`.

    Args:
        alpha: of the Beta distribution.
        lambda_u: weight of the consistency loss.
        ramp: fraction of the run over which lambda_u grows from 0.
        parts: any argument of `Mixing`.
    """

    def __init__(self, alpha: float = 1.0, lambda_u: float = 100.0, ramp: float = 0.25, **parts: Any):
        defaults = dict(
            threshold=dict(type="FixedThreshold", threshold=0.0),
            target=dict(type="SoftTarget", temperature=1.0),
            consistency=dict(type="ConsistencySquaredError"),
            judge="ema_training",
            mixed_views=("weak",),
            mix_labeled=False,
            dominant=False,
            mix_targets="logits",
            unlabeled_statistics=False,
        )
        super().__init__(alpha=alpha, lambda_u=lambda_u, ramp=ramp, **{**defaults, **parts})
