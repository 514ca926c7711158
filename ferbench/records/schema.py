"""The schema of a record: one JSON file for each run that says what was run, on what, and what came out.

`Record` and the classes it is made of are the schema: each attribute is one key of the file, in this order. A file is
checked against them when it is read: a key that is missing, unknown or of another type, a number that is not finite, or
a record that contradicts itself (`ferbench.records.consistency`), is refused by name. A key with a default may be
missing. ``schema`` counts the versions of this description. Older ones in `READABLE` are read, but never ranked with
newer ones; any other is refused.

1: the protocol knows the images by their names and labels. 2: also by what they hold (`ferbench.data.content`).

Numbers of scores are shares in [0, 1]. ``null`` inside a list is a number that does not exist (purity of a class of
which nothing was selected). No path of the machine is in a record: data lie below ``$FERBENCH_DATA``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA = 2
READABLE = (1, SCHEMA)
FINISHED, FAILED, RUNNING = "finished", "failed", "running"
STATUSES = (FINISHED, FAILED, RUNNING)
CHECKPOINTS, WEIGHTS = ("last", "best"), ("raw", "ema")


@dataclass(frozen=True)
class Result:
    """Test scores of one checkpoint with one kind of weights.

    Attributes:
        checkpoint: ``last``, or ``best``: the one with the best validation macro-F1 of the same weights.
        weights: ``raw`` or ``ema``.
        iter: iterations done when the checkpoint was written.
        val_macro_f1: validation macro-F1 of that checkpoint and weights.
        macro_f1: mean of ``f1``.
        accuracy: share of test images that are right.
        balanced_accuracy: mean recall of the classes that occur.
        f1: F1 per class.
        confusion: [C][C] counts; rows are the truth.
        count: test images.
        smoothed: whether predictions were smoothed over the frames of a video before they were scored.
        groups: where the test images are frames of videos, and for the best EMA checkpoint only (smoothed and not):
            video -> the cells of its confusion matrix that are not 0, as [truth, prediction, count]; what intervals are
            bootstrapped over.
        metrics: further scores by name, those of custom metrics; null: not a number. Absent in older records.
    """

    checkpoint: str
    weights: str
    iter: int
    val_macro_f1: float | None
    macro_f1: float
    accuracy: float
    balanced_accuracy: float
    f1: list[float]
    confusion: list[list[int]]
    count: int
    smoothed: bool = False
    groups: dict[str, list[list[int]]] | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ValidationCurve:
    """Validation macro-F1 over the run, one entry per validation.

    Attributes:
        iter: iterations done.
        images: source images seen in training until then, labeled and unlabeled.
        hours: training time until then, without validation.
        macro_f1_raw: of the raw weights.
        macro_f1_ema: of the EMA weights.
    """

    iter: list[int]
    images: list[int]
    hours: list[float]
    macro_f1_raw: list[float | None]
    macro_f1_ema: list[float | None]


@dataclass(frozen=True)
class ClassCurves:
    """What became of the pseudo-labels of each class, at no more than about 200 times, evenly chosen.

    Attributes:
        iter: iterations done.
        threshold: [T][C]; None for a rule without thresholds.
        utilization: [T][C] mean weight of the items predicted as the class.
        purity: [T][C] share of the selected weight whose hidden label agrees.
        pseudo_label_share: [T][C] share of the class among all predictions.
        utilization_mean: [T] over all items.
        purity_mean: [T] over all items.
        purity_count: [T][C] selected weight whose hidden label is known, which `purity` is a share of; None in a record of
            before it was written down.
    """

    iter: list[int]
    threshold: list[list[float | None]] | None
    utilization: list[list[float | None]]
    purity: list[list[float | None]]
    pseudo_label_share: list[list[float | None]]
    utilization_mean: list[float | None]
    purity_mean: list[float | None]
    purity_count: list[list[float | None]] | None = None


@dataclass(frozen=True)
class Curves:
    """What happened over the run.

    Attributes:
        val: None before the first validation.
        classes: None for an algorithm without pseudo-labels.
    """

    val: ValidationCurve | None = None
    classes: ClassCurves | None = None


@dataclass(frozen=True)
class ToTarget:
    """What it took until the EMA weights first reached a validation macro-F1; None where they never did.

    Attributes:
        macro_f1: the target.
        iter: iterations.
        images: source images, labeled and unlabeled.
        seconds: training time, without validation.
    """

    macro_f1: float
    iter: int | None
    images: int | None
    seconds: float | None


@dataclass(frozen=True)
class Cost:
    """What the run took.

    Attributes:
        train_seconds: training time, summed over the starts of a resumed run; without validation, tests and start-up.
        images: source images seen in training, labeled and unlabeled.
        images_per_s: median over the intervals of the log.
        data_wait: share of ``train_seconds`` spent waiting for data.
        peak_rss_mb: largest resident memory of the first process (10^6 bytes), data-loading processes apart.
        peak_cuda_mb: largest allocated memory of its GPU; None without one.
        to_target: one entry per target.
        load: the machine's load average (of a minute) per core: the highest one at a validation. Above 1, processes waited
            for cores, this run's or others'. None: not known.
    """

    train_seconds: float
    images: int
    images_per_s: float | None
    data_wait: float | None
    peak_rss_mb: float
    peak_cuda_mb: float | None
    to_target: list[ToTarget]
    load: float | None = None


@dataclass(frozen=True)
class DataPart:
    """One stream or set of a run, as it was drawn (unlike the protocol, which is the same for all seeds).

    Attributes:
        name: of the dataset.
        images: how many.
        class_counts: class -> images with this label. For ``unlabeled`` the hidden labels where they are known: a
            diagnostic, which no algorithm sees; empty where none is.
    """

    name: str
    images: int
    class_counts: dict[str, int]


@dataclass(frozen=True)
class Code:
    """Which code ran.

    Attributes:
        version: of ferbench.
        commit: of its checkout; None for an installed package.
        dirty: whether tracked files differed from the commit.
        plugins: of whose parts the run was made -> version and content (`ferbench.core.plugins.identities`); a record without
            it is from before it was written down.
    """

    version: str
    commit: str | None = None
    dirty: bool | None = None
    plugins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hardware:
    """What it ran on.

    Attributes:
        cpu: model.
        cores: cores that a process might use.
        gpu: model, or None.
        processes: training processes (with a GPU each, if there is one).
    """

    cpu: str
    cores: int
    gpu: str | None
    processes: int


@dataclass(frozen=True)
class Cell:
    """Where a run stands in its grid.

    Attributes:
        grid: name of the grid.
        dataset: name of the base config.
        budget: dotted config key -> value, e.g. ``{'split.per_class': 25}``.
        command: that ran the grid.
        trial: number of the tuning trial that this run is, from 0; None for a run of the comparison.
        trials: tuning trials that each algorithm was given; None: not tuned.
    """

    grid: str
    dataset: str
    budget: dict[str, Any]
    command: str
    trial: int | None = None
    trials: int | None = None


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        schema: version of this description.
        status: ``finished``; ``failed``, see `failure`; ``running``: begun and neither, so it runs, or was interrupted or
            killed and can be resumed.
        failure: why it failed.
        label: name of the algorithm in tables; unique in a grid.
        algorithm: its config: type and parameters.
        seed: of the run.
        split_hash: equal exactly when the same images with the same labels are labeled, unlabeled and validation; None
            where no split is drawn.
        protocol: everything in the run but algorithm, seed and draw of the split (`ferbench.records.protocol`); empty
            for a run that failed before it was known.
        protocol_hash: of `protocol`; None where that is empty.
        classes: names, in the order of every list of C.
        data: ``labeled``, ``unlabeled``, ``val``, ``test``.
        results: test scores; empty unless finished.
        curves: see `Curves`.
        cost: None before the first entry of the log.
        code: see `Code`.
        libraries: package -> version.
        hardware: see `Hardware`.
        command: that started the run.
        config: the complete config.
        cell: None for a run of its own.
        written: when this file was written (ISO 8601, UTC).
        warnings: what makes the run doubtful, in sentences. Absent in older records.
    """

    schema: int
    status: str
    failure: str | None
    label: str
    algorithm: dict[str, Any]
    seed: int
    split_hash: str | None
    protocol: dict[str, Any]
    protocol_hash: str | None
    classes: list[str]
    data: dict[str, DataPart]
    results: list[Result]
    curves: Curves
    cost: Cost | None
    code: Code
    libraries: dict[str, str]
    hardware: Hardware | None
    command: str
    config: dict[str, Any]
    cell: Cell | None
    written: str
    warnings: list[str] = field(default_factory=list)

    @property
    def is_trial(self) -> bool:
        """Whether this is a tuning trial, which is no result of the comparison."""
        return self.cell is not None and self.cell.trial is not None

    def result(self, checkpoint: str = "best", weights: str = "ema", smoothed: bool = False) -> Result:
        """The scores of one checkpoint.

        Raises:
            KeyError: the record has none such (the run is not finished, or nothing was smoothed).
        """
        for row in self.results:
            if (row.checkpoint, row.weights, row.smoothed) == (checkpoint, weights, smoothed):
                return row
        raise KeyError(
            f"{self.label}, seed {self.seed}: no {checkpoint} {weights} scores, smoothed={smoothed}"
        )
