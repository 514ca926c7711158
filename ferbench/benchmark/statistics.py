"""What a table of scores over seeds, videos and data sets can be said to show. Arrays in, dataclasses out.

The reported test is the paired t-test over seeds, corrected by Holm's method over the algorithms of a table. It assumes that
the differences are about normal, which means over thousands of test images mostly are. The exact sign-flip test needs no such
assumption and is given beside it, but n seeds cannot bring it below ``2 / 2**n``: with 3 to 5 seeds, which is what the field
can pay for, it could never call anything significant. Demšar (2006), "Statistical comparisons of classifiers over multiple
data sets", JMLR 7, is the source of the rank summary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special, stats

ALPHA = 0.05
LEVEL = 0.95
RESAMPLES = 9999
#: Two differences have one degree of freedom: an interval or a test of them means nothing.
MIN_SEEDS = 3
#: Below this a table says that its seeds are few.
FEW_SEEDS = 5
DIGITS = 12
_NOTHING = 10.0**-DIGITS  # scores are shares: what is smaller is rounding

#: Algorithm -> seed -> score; NaN where a run has no number.
Scores = Mapping[str, Mapping[int, float]]
Verdict = Literal["better", "worse", "within noise", "too few seeds", "no number"]


@dataclass(frozen=True)
class Interval:
    """A confidence interval of level `LEVEL`."""

    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """A score over seeds.

    Attributes:
        n: seeds.
        mean: over them; NaN without any, and where one of them is no number.
        sd: sample standard deviation (``ddof=1``); NaN below 2 seeds.
        scores: one per seed.
    """

    n: int
    mean: float
    sd: float
    scores: tuple[float, ...]

    @property
    def interval(self) -> Interval | None:
        """Percentile bootstrap of the mean over seeds; None below `MIN_SEEDS`, and where a score is no number."""
        return _mean_interval(self.scores) if self.n >= MIN_SEEDS and math.isfinite(self.mean) else None

    @property
    def few_seeds(self) -> bool:
        """Whether the number of seeds is small."""
        return self.n < FEW_SEEDS


@dataclass(frozen=True)
class Comparison:
    """An algorithm against the reference, paired by seed. Below `MIN_SEEDS` pairs all but ``n`` and ``difference`` is None.

    Attributes:
        n: seeds that both have.
        difference: mean of algorithm minus reference over these seeds; NaN without any, and where one of them is no number.
        interval: of the difference, from Student's t: it leaves out 0 exactly if ``p`` is below `ALPHA`.
        p: paired t-test, two-sided.
        p_holm: ``p`` after Holm's correction over the table's comparisons; the verdict follows it.
        p_sign_flip: exact sign-flip test, two-sided, uncorrected (above 13 seeds: by `RESAMPLES` random flips).
        effect: Hedges' g_z, see `hedges_gz`.
        verdict: in words.
    """

    n: int
    difference: float
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    p_sign_flip: float | None = None
    effect: float | None = None
    verdict: Verdict = "too few seeds"

    @property
    def few_seeds(self) -> bool:
        """Whether the number of pairs is small."""
        return self.n < FEW_SEEDS


@dataclass(frozen=True)
class RankSummary:
    """Ranks of K algorithms over N blocks (data sets or budgets); rank 1 is best, ties share their mean rank.

    Attributes:
        mean_ranks: [K].
        blocks: N.
        friedman: Friedman's chi-square, corrected for ties; None where it does not exist (K < 3, N < 2 or all tied).
        p: its p-value (chi-square with K - 1 degrees of freedom, an approximation that is poor for few blocks).
        critical_difference: of Nemenyi's test at `ALPHA`: mean ranks closer than this are not told apart. None for N < 2.
    """

    mean_ranks: tuple[float, ...]
    blocks: int
    friedman: float | None
    p: float | None
    critical_difference: float | None


def summarize(scores: Sequence[float] | np.ndarray) -> Summary:
    """Mean, standard deviation and bootstrap interval of one score per seed.

    Args:
        scores: [n]; NaN where a run has no number.
    """
    values = np.asarray(scores, dtype=np.float64)
    n = len(values)
    known = n > 0 and bool(np.isfinite(values).all())
    mean = float(values.mean()) if known else math.nan
    sd = float(values.std(ddof=1)) if known and n > 1 else math.nan
    return Summary(n, mean, sd, tuple(values.tolist()))


def highest(scores: Scores) -> list[str]:
    """The algorithms with the highest mean: one, or all that tie; none where none has the seeds for a claim.

    A mean of fewer than `MIN_SEEDS` seeds, or of one that is no number, is not counted.

    Args:
        scores: see `Scores`.
    """
    means = {
        name: float(np.mean(list(own.values()))) for name, own in scores.items() if len(own) >= MIN_SEEDS
    }
    means = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    top = max(means.values(), default=math.nan)
    return [name for name, mean in means.items() if top - mean <= _NOTHING]


def coverage_limit(n: int) -> float:
    """The share of cases in which the range of n seeds, and so any bootstrap interval, holds the true mean at best.

    All n fall on one side of the centre of a symmetric distribution with probability ``2 * 2**-n``.
    """
    return 1.0 - 2.0 ** (1 - n)


def compare(scores: Scores, reference: str) -> dict[str, Comparison]:
    """Every algorithm against the reference, paired by seed, corrected for their number.

    Args:
        scores: algorithm -> seed -> score (higher is better); NaN where a run has no number.
        reference: one of the algorithms.

    Returns:
        Algorithm -> comparison, without the reference itself. Algorithms with too few pairs are not tested and therefore do
        not count in Holm's correction; nor are those of whose differences one is no number, which is what their verdict says.

    Raises:
        KeyError: the reference has no scores.
    """
    base = scores[reference]
    differences = {
        name: np.array([seeds[s] - base[s] for s in sorted(seeds.keys() & base.keys())])
        for name, seeds in scores.items()
        if name != reference
    }
    tested = [name for name, d in differences.items() if len(d) >= MIN_SEEDS and np.isfinite(d).all()]
    ps = {name: _paired_t(differences[name]) for name in tested}
    adjusted = dict(zip(tested, holm([ps[name][0] for name in tested]), strict=True))
    found = {}
    for name, d in differences.items():
        mean = float(d.mean()) if len(d) else math.nan
        if len(d) and not np.isfinite(d).all():
            found[name] = Comparison(len(d), math.nan, verdict="no number")
            continue
        if name not in ps:
            found[name] = Comparison(len(d), mean)
            continue
        p, interval = ps[name]
        found[name] = Comparison(
            len(d), mean, interval, p, adjusted[name], sign_flip_p(d), hedges_gz(d), _verdict(mean, adjusted[name])
        )  # fmt: skip
    return found


def sign_flip_p(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p of the sign-flip permutation test of paired differences, statistic: their mean.

    Args:
        differences: [n].
    """
    result = stats.permutation_test(
        (np.asarray(differences, dtype=np.float64),),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def smallest_sign_flip_p(n: int) -> float:
    """The smallest p that the two-sided sign-flip test of n pairs can give: ``2 / 2**n``."""
    return min(1.0, 2.0 ** (1 - n))


def seeds_for_sign_flip(comparisons: int = 1, alpha: float = ALPHA) -> int:
    """Seeds from which on the sign-flip test can reach ``alpha`` in the first step of Holm's correction.

    Args:
        comparisons: number of algorithms compared with the reference.
        alpha: level.
    """
    return math.ceil(1 + math.log2(max(comparisons, 1) / alpha))


def hedges_gz(differences: Sequence[float] | np.ndarray) -> float:
    """Hedges' g_z: mean over standard deviation of the paired differences (Cohen's d_z), times Hedges' factor for small n.

    The factor is the exact ``Γ(m/2) / (sqrt(m/2) Γ((m-1)/2))`` with ``m = n - 1`` (Hedges 1981). 0.2, 0.5 and 0.8 are usually
    called small, medium and large; between seeds of one protocol it is often above 1, because seeds vary little.

    Args:
        differences: [n], n >= 3.

    Returns:
        0 where all differences are 0, infinite where they are all the same other number.
    """
    d = np.asarray(differences, dtype=np.float64)
    mean, half = float(d.mean()), (len(d) - 1) / 2
    if np.ptp(d) < _NOTHING:
        return 0.0 if abs(mean) < _NOTHING else math.copysign(math.inf, mean)
    factor = math.exp(special.gammaln(half) - special.gammaln(half - 0.5)) / math.sqrt(half)
    return float(factor * mean / d.std(ddof=1))


def holm(p: Sequence[float]) -> list[float]:
    """p-values after Holm's step-down correction, in the order given."""
    if not p:
        return []
    from statsmodels.stats.multitest import multipletests  # half a second, for reports with a comparison only

    return multipletests(p, alpha=ALPHA, method="holm")[1].tolist()


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """`ferbench.functional.metrics.scores_from_confusion` for stacks of matrices, as resampling needs them.

    Args:
        confusion: [..., C, C], rows are the truth.

    Returns:
        [...] mean F1 over all C classes; a class that neither occurs nor is predicted counts 0.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return (2 * right / np.maximum(total, 1)).mean(axis=-1)


def group_interval(confusions: np.ndarray, reference: np.ndarray | None = None) -> Interval | None:
    """Bootstrap interval of macro-F1 over groups (videos), whose frames are not independent.

    Groups are drawn with replacement, their confusion matrices added, macro-F1 computed again and averaged over runs: how much
    the score would move with other videos of the same kind. All runs are scored on the same drawn groups.

    Args:
        confusions: [R, G, C, C] counts of R runs on G groups.
        reference: [S, G, C, C] of the runs to compare with, on the same groups: the interval is then that of the difference.

    Returns:
        None for a single group.
    """
    _, groups, size, _ = confusions.shape
    if groups < 2:
        return None
    stacks = [confusions] if reference is None else [confusions, reference]
    tables = [s.astype(np.float64).swapaxes(0, 1).reshape(groups, -1) for s in stacks]

    def statistic(drawn: np.ndarray, axis: int) -> np.ndarray:
        flat = drawn.reshape(-1, groups).astype(np.int64)
        cells = flat + groups * np.arange(len(flat))[:, None]
        times = np.bincount(cells.ravel(), minlength=flat.size).reshape(flat.shape).astype(np.float64)
        scores = [macro_f1((times @ t).reshape(len(flat), -1, size, size)).mean(axis=-1) for t in tables]
        score = scores[0] if len(scores) == 1 else scores[0] - scores[1]
        return score.reshape(drawn.shape[:-1])

    return _bootstrap(np.arange(groups), statistic)


def rank_summary(scores: Sequence[Sequence[float]] | np.ndarray) -> RankSummary:
    """Mean ranks over blocks, Friedman's test and Nemenyi's critical difference.

    The tests take the blocks for independent: budgets of one data set are not.

    Args:
        scores: [N, K] score of each algorithm in each block, higher is better; differences by rounding are ties.

    Raises:
        ValueError: a score is no number, which has no rank.
    """
    values = np.asarray(scores, dtype=np.float64).round(DIGITS)
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite: it has no rank")
    blocks, algorithms = values.shape
    ranks = stats.rankdata(-values, axis=1)
    tested = blocks >= 2 and algorithms >= 3 and bool((np.ptp(ranks, axis=1) > 0).any())
    result = stats.friedmanchisquare(*values.T) if tested else None
    return RankSummary(
        tuple(ranks.mean(axis=0).tolist()),
        blocks,
        float(result.statistic) if result else None,
        float(result.pvalue) if result else None,
        critical_difference(algorithms, blocks) if blocks >= 2 and algorithms >= 2 else None,
    )


def critical_difference(algorithms: int, blocks: int, alpha: float = ALPHA) -> float:
    """Nemenyi's critical difference of mean ranks (Demšar 2006, eq. 8 and table 5).

    Args:
        algorithms: K >= 2.
        blocks: N.
        alpha: level.
    """
    q = stats.studentized_range.ppf(1 - alpha, algorithms, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(algorithms * (algorithms + 1) / (6 * blocks)))


@lru_cache(maxsize=4096)  # a mean stands in several tables
def _mean_interval(scores: tuple[float, ...]) -> Interval:
    return _bootstrap(np.array(scores), np.mean)


def _bootstrap(data: np.ndarray, statistic: Callable[..., np.ndarray]) -> Interval:
    # One named seed: the same records always give the same report.
    result = stats.bootstrap(
        (data,), statistic, confidence_level=LEVEL, n_resamples=RESAMPLES, method="percentile", vectorized=True,
        batch=1000, rng=np.random.default_rng(0),
    )  # fmt: skip
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def _paired_t(differences: np.ndarray) -> tuple[float, Interval]:
    """Two-sided p and interval; equal differences, whose t does not exist, are certain: p is 1 for 0, else 0."""
    mean = float(differences.mean())
    if np.ptp(differences) < _NOTHING:
        return (1.0 if abs(mean) < _NOTHING else 0.0), Interval(mean, mean)
    result = stats.ttest_1samp(differences, 0.0)
    interval = result.confidence_interval(LEVEL)
    return float(result.pvalue), Interval(float(interval.low), float(interval.high))


def _verdict(difference: float, p: float) -> Verdict:
    if p >= ALPHA:
        return "within noise"
    return "better" if difference > 0 else "worse"
