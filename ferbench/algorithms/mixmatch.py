"""MixMatch and ReMixMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.mixing import Mixing
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class MixMatch(Mixing):
    """Sharpened guesses, all images mixed with each other (Berthelot et al. 2019, arXiv 1905.02249, eq. 2-14).

    ``g = sharpen((p(weak) + p(weak2)) / 2, T)``; MixUp within ``[labeled, weak, weak2]`` with targets ``[label, g, g]``;
    ``L = mean(H(t_x, p(x'))) + lambda_u * ramp * mean_i(mean_c (p(u'_i)_c - t_ic)^2)``.

    Batch-norm: the guesses are made in passes that leave the running statistics alone. The mixtures pass together and all
    count, unless ``unlabeled_statistics=False`` (the mixed labeled images alone: common code).

    Args:
        temperature: T.
        alpha: of the Beta distribution.
        lambda_u, ramp: weight of the unsupervised loss, and fraction of the run over which it grows from 0. The defaults are
            the paper's, for about 2^20 steps (16,000 of ramp); in a short run the network then comes to predict the same
            for all images, and the shipped configs have 10 and 0.4.
        parts: any argument of `Mixing`.
    """

    def __init__(
        self,
        temperature: float = 0.5,
        alpha: float = 0.75,
        lambda_u: float = 100.0,
        ramp: float = 1 / 64,
        **parts: Any,
    ):
        defaults = dict(
            threshold=dict(type="FixedThreshold", threshold=0.0),
            target=dict(type="SoftTarget", temperature=temperature),
            consistency=dict(type="ConsistencySquaredError"),
            weak_views=("weak", "weak2"),
            mixed_views=("weak", "weak2"),
        )
        super().__init__(alpha=alpha, lambda_u=lambda_u, ramp=ramp, **{**defaults, **parts})


@ALGORITHMS.register_module()
class ReMixMatch(Mixing):
    """MixMatch with aligned guesses for strong views, and rotation (Berthelot et al. 2020, arXiv 1911.09785, sec. 3).

    ``g = sharpen(align(p(weak)), T)``; MixUp within ``[labeled, strong, strong2, weak]``, targets ``[label, g, g, g]``;
    ``L = H(mixed labeled) + ramp * (lambda_u * H(mixed unlabeled) + unmixed * H(g, p(strong))) + rotation * H(angle)``,
    all means over their rows.

    Batch-norm: as `MixMatch`; the strong view that is not mixed and the rotated one never count.

    Args:
        temperature: T.
        alpha: of the Beta distribution.
        lambda_u: weight of the mixed unlabeled images.
        unmixed: weight of the strong view that is not mixed.
        rotation: weight of `RotationTerm`; 0: no such head.
        ramp: fraction of the run over which ``lambda_u`` and ``unmixed`` grow from 0.
        momentum: of the mean prediction that is aligned to the class shares of the labeled set.
        parts: any argument of `Mixing`.
    """

    def __init__(
        self,
        temperature: float = 0.5,
        alpha: float = 0.75,
        lambda_u: float = 1.5,
        unmixed: float = 0.5,
        rotation: float = 0.5,
        ramp: float = 1 / 64,
        momentum: float = 0.999,
        **parts: Any,
    ):
        terms = [dict(type="ViewConsistency", view="strong", weight=unmixed, ramp=ramp)]
        if rotation:
            terms.append(dict(type="RotationTerm", view="strong", weight=rotation))
        defaults = dict(
            threshold=dict(type="FixedThreshold", threshold=0.0),
            alignment=dict(type="EMAAlignment", target="labeled", momentum=momentum),
            target=dict(type="SoftTarget", temperature=temperature),
            terms=terms,
            mixed_views=("strong", "strong2", "weak"),
        )
        super().__init__(alpha=alpha, lambda_u=lambda_u, ramp=ramp, **{**defaults, **parts})
