"""Tuning that is fair to every algorithm: the same number of trials each, chosen on validation, all of them recorded.

K points of an algorithm's search space are drawn by a private generator, without replacement; a space of fewer points is
tried whole. The draw depends on the algorithm's label and space only: the same points for every budget, and the first K of
a larger K. Trials run at one seed, which is none of the comparison's. The best EMA weights on validation decide; test
scores of trials are never looked at. A choice stands once it is made: a trial that failed and is done again later does not
change the parameters of runs that may have been done with them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ferbench import records
from ferbench.benchmark.grid import Grid, Run, require_own_folders
from ferbench.functional.randomness import derive_seed


def size_of(space: Mapping[str, Sequence[Any]]) -> int:
    """Number of points of a search space; 1 for an empty one."""
    return math.prod(len(values) for values in space.values())


def draw(label: str, space: Mapping[str, Sequence[Any]], trials: int) -> list[dict[str, Any]]:
    """Points of a search space: ``trials`` of them, or all if there are fewer.

    Args:
        label: of the algorithm.
        space: dotted parameter -> values.
        trials: K.
    """
    names, size = sorted(space), size_of(space)
    generator = np.random.default_rng(derive_seed("tuning", label, json.dumps(space, sort_keys=True)))
    numbers: dict[int, None] = {}
    while len(numbers) < min(trials, size):
        numbers[int(generator.integers(size))] = None
    return [_point(number, names, space) for number in numbers]


def tuned_runs(grid: Grid, runs: Sequence[Run], trials: int) -> list[Run]:
    """The runs of a tuned grid: trials of every algorithm that has a search space, then the comparison.

    Args:
        grid: the grid.
        runs: of the comparison.
        trials: K.
    """
    first: list[Run] = []
    for run in runs:
        entry = grid.algorithms[run.label]
        if run.seed == grid.seeds[0] and size_of(entry.search) > 1:
            points = draw(run.label, entry.search, trials)
            first += [
                replace(
                    run,
                    algorithm=entry.with_parameters(p, run.dataset),
                    seed=grid.tuning_seed,
                    trial=i,
                    trials=trials,
                )
                for i, p in enumerate(points)
            ]
    later = [replace(r, trials=trials, tuned=size_of(grid.algorithms[r.label].search) > 1) for r in runs]
    require_own_folders([*first, *later], grid)
    return [*first, *later]


def choose(trials: Sequence[tuple[Run, records.Record | None]]) -> int | None:
    """Which trial was best on validation (best EMA weights); the first of equally good ones, None if none has finished.

    Args:
        trials: each with its record, if it has one.
    """
    scores = {run.trial: score for run, own in trials if (score := validation_score(own)) is not None}
    return max(scores, key=lambda number: (scores[number], -(number or 0))) if scores else None


def validation_score(own: records.Record | None) -> float | None:
    """Validation macro-F1 of the best EMA weights of a finished run."""
    if own is None or own.status != records.FINISHED:
        return None
    return own.result("best", "ema").val_macro_f1


def report_of(
    label: str, grid: Grid, trials: Sequence[tuple[Run, records.Record | None]], asked: int
) -> dict[str, Any]:
    """What the trials of a cell came to, as ``tuning.json`` says it.

    Args:
        label: of the algorithm.
        grid: the grid.
        trials: of the cell, each with its record.
        asked: K.

    Returns:
        ``space`` and its number of ``points``, ``seed``, ``trials`` (``parameters``, ``val_macro_f1``, ``failure`` each),
        and ``chosen``, the number of the best one (None: none has finished).
    """
    space = grid.algorithms[label].search
    return {
        "space": space,
        "points": size_of(space),
        "seed": grid.tuning_seed,
        "trials": [
            {
                "parameters": point,
                "val_macro_f1": validation_score(own),
                "failure": own.failure if own is not None else None,
            }
            for point, (_, own) in zip(draw(label, space, asked), trials, strict=True)
        ],
        "chosen": choose(trials),
    }


def with_choice(run: Run, grid: Grid, report: Mapping[str, Any]) -> Run:
    """A run with the parameters that its trials have chosen."""
    parameters = report["trials"][report["chosen"]]["parameters"]
    algorithm = grid.algorithms[run.label].with_parameters(parameters, run.dataset)
    return replace(run, algorithm=algorithm, tuned=False)


def _point(number: int, names: Sequence[str], space: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    point = {}
    for name in names:  # mixed-radix digits of the number
        number, digit = divmod(number, len(space[name]))
        point[name] = space[name][digit]
    return point
