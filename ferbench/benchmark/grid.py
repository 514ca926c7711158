"""A grid: algorithms x budgets x seeds x data sets, from one short config; checked whole before anything runs.

    base = "r18_fer2013"                                # or dict(name=config, ...): several data sets
    algorithms = {
        "Supervised": dict(type="Supervised"),
        "FixMatch": dict(type="FixMatch", threshold=0.95, search=dict(threshold=[0.8, 0.9, 0.95])),
        "DTM": "dtm",                                   # a shipped algorithm, as --algorithm takes it
    }
    budgets = [25, 100]                                 # split.per_class; or dicts of any options
    seeds = [0, 1, 2]
    options = {"train_cfg.max_iters": 3000}             # of every run

The seed of a run is its seed and, where the base draws a split, the seed of that draw: each seed is a new draw of labels,
which all algorithms share. ``split_seed = 0`` gives all seeds the same draw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferbench.benchmark.execute import DROPPED
from ferbench.config import find_config, load_config, read_file
from ferbench.core.config_algorithm import algorithm_of, conditions_of
from ferbench.core.hashing import sha256
from ferbench.errors import UserError, nearest

if TYPE_CHECKING:
    from mmengine import Config

KEYS = (
    "base", "algorithms", "budgets", "seeds", "options", "name", "split_seed", "tuning_seed", "plugins", "keep",
    "slurm", "ray", "processes",
)  # fmt: skip
BUDGET = "split.per_class"  # what a bare number in `budgets` is a value of
TUNING_SEED = 1000
MAX_NAME = 80


@dataclass(frozen=True)
class Entry:
    """One algorithm of a grid.

    Attributes:
        config: type and parameters.
        search: dotted parameter -> values that tuning may choose from; empty: there is nothing to tune.
        by_dataset: name of a data set -> type and parameters there, where an algorithm's file has overrides for its setting.
        imports: what the algorithm's file imports.
    """

    config: dict[str, Any]
    search: dict[str, list[Any]] = field(default_factory=dict)
    by_dataset: dict[str, dict[str, Any]] = field(default_factory=dict)
    imports: tuple[str, ...] = ()

    def with_parameters(self, parameters: Mapping[str, Any], dataset: str | None = None) -> dict[str, Any]:
        """Type and parameters on a data set, some of them (dotted) set anew."""
        config = deepcopy(self.by_dataset.get(dataset or "", self.config))
        for dotted, value in parameters.items():
            *path, last = dotted.split(".")
            node = config
            for key in path:
                node = node.setdefault(key, {})
            node[last] = deepcopy(value)
        return config


@dataclass(frozen=True)
class Grid:
    """What a grid file says.

    Attributes:
        file: the file.
        name: of the grid.
        bases: name of a data set -> config of its runs.
        algorithms: label -> algorithm.
        budgets: each a dict of options.
        seeds: of the runs.
        options: of every run.
        split_seed: the same draw for every seed; None: the run's seed.
        tuning_seed: seed of the tuning trials.
        plugins: to import, as ``--plugin`` takes them.
        keep: checkpoints to keep of a finished run: ``all``; ``best``: not the one to go on from, which is the largest;
            ``none``.
        slurm: parameters of a job, as submitit's executor takes them.
        ray: ``address`` of the cluster, and ``num_cpus``, ``num_gpus`` and other options of a task.
        processes: that train each run together; the batch is divided among them.
    """

    file: Path
    name: str
    bases: dict[str, str]
    algorithms: dict[str, Entry]
    budgets: list[dict[str, Any]]
    seeds: list[int]
    options: dict[str, Any]
    split_seed: int | None = None
    tuning_seed: int = TUNING_SEED
    plugins: tuple[str, ...] = ()
    keep: str = "all"
    slurm: dict[str, Any] = field(default_factory=dict)
    ray: dict[str, Any] = field(default_factory=dict)
    processes: int = 1


@dataclass(frozen=True)
class Run:
    """One run of a grid.

    Attributes:
        dataset: name of its base.
        budget: options of its budget.
        label: of its algorithm.
        algorithm: type and parameters.
        seed: of the run.
        trial: number of the tuning trial that it is, or None.
        trials: tuning trials that its algorithm was given, or None.
        tuned: whether its parameters are still to be chosen by the trials.
    """

    dataset: str
    budget: dict[str, Any]
    label: str
    algorithm: dict[str, Any]
    seed: int
    trial: int | None = None
    trials: int | None = None
    tuned: bool = False

    @property
    def cell(self) -> tuple[str, str, str]:
        """Data set, budget and algorithm: what its seeds have in common."""
        return self.dataset, name_of(self.budget), self.label

    @property
    def id(self) -> str:
        """Its folder below ``runs/``, unique in the grid."""
        return "/".join([*(slug(part) for part in self.cell), self._last])

    def fits(self, pattern: str) -> bool:
        """Whether a pattern (as of files) fits its folder, with the names as the folder or as the grid spells them."""
        spelled = "/".join([self.dataset, name_of(self.budget) or slug(""), self.label, self._last])
        return fnmatchcase(self.id, pattern) or fnmatchcase(spelled, pattern)

    @property
    def _last(self) -> str:
        return f"seed{self.seed}" if self.trial is None else f"trial{self.trial:02d}"

    def __str__(self) -> str:
        last = f"seed {self.seed}" if self.trial is None else f"trial {self.trial}"
        return " · ".join(
            [*(part for part in (self.dataset, name_of(self.budget)) if part), self.label, last]
        )


def read_grid(path: str | Path) -> Grid:
    """Read a grid file, or one of this project's by its path inside ``configs/`` (``grids/fer2013.py``).

    Raises:
        UserError: no such file, or a mistake in it.
    """
    file = find_config(path)
    content = {k: _lists(v) for k, v in read_file(file).to_dict().items() if not k.startswith("_")}
    for key in content:
        if key not in KEYS:
            raise UserError(f"a grid has no key {key!r}", where=file, expected=nearest(key, KEYS))
    for key in ("base", "algorithms", "seeds"):
        if not content.get(key) and content.get(key) != 0:
            raise UserError(f"the grid has no {key!r}", where=file, fix="see docs/howto/benchmark.md")
    name = content.get("name") or file.stem
    bases = _bases(content["base"], file)
    algorithms = {
        k: _entry(k, v, bases, file) for k, v in _mapping(content["algorithms"], "algorithms", file).items()
    }
    plugins = [*_strings(content.get("plugins")), *(spec for e in algorithms.values() for spec in e.imports)]
    grid = Grid(
        file=file,
        name=name,
        bases=bases,
        algorithms=algorithms,
        budgets=_budgets(content.get("budgets"), file),
        seeds=_seeds(content["seeds"], "seeds", file),
        options=_mapping(content.get("options") or {}, "options", file),
        split_seed=content.get("split_seed"),
        tuning_seed=content.get("tuning_seed", TUNING_SEED),
        plugins=tuple(dict.fromkeys(plugins)),
        keep=content.get("keep", "all"),
        slurm=_mapping(content.get("slurm") or {}, "slurm", file),
        ray=_mapping(content.get("ray") or {}, "ray", file),
        processes=content.get("processes", 1),
    )
    for key, value in (("split_seed", grid.split_seed), ("tuning_seed", grid.tuning_seed)):
        if value is not None:
            _seeds([value], key, file)
    if not isinstance(grid.processes, int) or isinstance(grid.processes, bool) or grid.processes < 1:
        raise UserError(f"processes is {grid.processes!r}", where=file, expected="a whole number, at least 1")
    if grid.keep not in DROPPED:
        raise UserError(f"keep is {grid.keep!r}", where=file, expected=" or ".join(map(repr, DROPPED)))
    if grid.tuning_seed in grid.seeds:
        raise UserError(
            f"tuning_seed is {grid.tuning_seed}, which is also a seed of the comparison",
            where=file,
            expected="a seed of its own: what was tuned on a draw is not compared on it",
        )
    return grid


def runs_of(grid: Grid) -> list[Run]:
    """Every run of the comparison, seed by seed, so that an unfinished grid has whole seeds.

    Raises:
        UserError: two of them would share a folder.
    """
    runs = [
        Run(dataset, budget, label, entry.with_parameters({}, dataset), seed)
        for seed, (dataset, budget, (label, entry)) in product(
            grid.seeds, product(grid.bases, grid.budgets, grid.algorithms.items())
        )
    ]
    require_own_folders(runs, grid)
    return runs


def require_own_folders(runs: Sequence[Run], grid: Grid) -> None:
    """Raise a UserError if two runs would be written into the same folder."""
    taken: dict[str, Run] = {}
    for run in runs:
        other = taken.setdefault(run.id.casefold(), run)
        if other is not run:
            raise UserError(
                f"two runs of the grid have the same name: {other}, and {run}",
                where=grid.file,
                expected="labels, budgets, data sets and seeds that differ in letters or digits",
            )


def config_of(run: Run, grid: Grid, data: str | Path | None, command: str = "") -> Config:
    """The complete config of a run.

    Args:
        run: the run.
        grid: its grid.
        data: folder of the data sets; see `ferbench.config.load_config`.
        command: that runs the grid, for the record.

    Raises:
        UserError: a mistake in the base, or an option that it does not have.
    """
    cfg = load_config(grid.bases[run.dataset], {**grid.options, **run.budget}, grid.plugins, data)
    if not isinstance(cfg.get("model"), Mapping):
        raise UserError(
            "the base config has no 'model'", where=cfg.filename, fix="name a config of a run as base"
        )
    cfg.model.algorithm = deepcopy(run.algorithm)
    cfg.randomness = {**(cfg.get("randomness") or {}), "seed": run.seed}
    if draws_split(cfg):
        cfg.split.seed = run.seed if grid.split_seed is None else grid.split_seed
    cell = {
        "grid": grid.name, "dataset": run.dataset, "budget": run.budget, "command": command, "trial": run.trial,
        "trials": run.trials,
    }  # fmt: skip
    hooks = dict(cfg.get("default_hooks") or {})
    cfg.default_hooks = {
        **hooks, "record": {"type": "RunRecord", **(hooks.get("record") or {}), "label": run.label, "cell": cell},
    }  # fmt: skip
    return cfg


def draws_split(cfg: Mapping[str, Any]) -> bool:
    """Whether a run draws its split by a seed (else there is none, or a manifest of the user's says it)."""
    split = cfg.get("split") or {}
    return bool(split) and not split.get("file")


def name_of(budget: Mapping[str, Any], equals: str = "=") -> str:
    """A budget in a few words: ``per_class=25``. A None of the split only makes way for another of its options."""
    return ", ".join(
        f"{key.rpartition('.')[2]}{equals}{value}"
        for key, value in budget.items()
        if value is not None or not key.startswith("split.")
    )


def slug(text: str) -> str:
    """A text as the name of a folder: letters, digits and ``.=_-``; a long one is cut, and its hash added."""
    name = re.sub(r"[^\w.=-]+", "-", text).strip("-.") or "all"
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}-{sha256(text)[:8]}"


def _bases(value: Any, file: Path) -> dict[str, str]:
    if isinstance(value, str):
        return {Path(value).stem: value}
    if isinstance(value, Mapping) and value and all(isinstance(v, str) for v in value.values()):
        return dict(value)
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        names = [Path(v).stem for v in value]
        if len(set(names)) == len(names):
            return dict(zip(names, value, strict=True))
        raise UserError(
            "two bases have the same name", where=file, fix="name them: base = dict(fer2013='...', ...)"
        )
    raise UserError(
        f"base is {value!r}", where=file, expected="a config, a list of configs, or dict(name=config, ...)"
    )


def _entry(label: str, value: Any, bases: Mapping[str, str], file: Path) -> Entry:
    if not isinstance(label, str) or not label.strip():
        raise UserError(f"the label of an algorithm is {label!r}", where=file, expected="a name")
    where = f"{file}: algorithms[{label!r}]"
    if isinstance(value, str):
        value = {"config": value}
    if not isinstance(value, Mapping) or ("type" in value) == ("config" in value):
        raise UserError(
            f"the algorithm {label!r} is {value!r}", where=where,
            expected="dict(type='FixMatch', ...), or what --algorithm takes, e.g. 'fixmatch'",
        )  # fmt: skip
    search = _mapping(value.get("search") or {}, f"algorithms[{label!r}].search", file)
    for name, values in search.items():
        if not isinstance(values, list) or not values:
            raise UserError(
                f"search[{name!r}] is {values!r}", where=where, expected="a list of values to choose from"
            )
    own = {k: v for k, v in value.items() if k not in ("search", "config")}
    if "config" not in value:
        return Entry(own, search)
    if own:
        raise UserError(
            f"{', '.join(own)} cannot be set beside 'config'",
            where=where,
            fix="write out the algorithm's dict",
        )
    if not isinstance(value["config"], str):
        raise UserError(
            f"config is {value['config']!r}", where=where, expected="what --algorithm takes, e.g. 'fixmatch'"
        )
    found = {dataset: algorithm_of(value["config"], conditions_of(base)) for dataset, base in bases.items()}
    own, imports = next(iter(found.values()))
    differs = any(algorithm != own for algorithm, _ in found.values())
    return Entry(
        _lists(own), search, {k: _lists(v) for k, (v, _) in found.items()} if differs else {}, tuple(imports)
    )


def _budgets(value: Any, file: Path) -> list[dict[str, Any]]:
    found = []
    for budget in [{}] if value is None else value if isinstance(value, list) else [value]:
        if isinstance(budget, Mapping):
            found.append(dict(budget))
        elif isinstance(budget, int) and not isinstance(budget, bool):
            found.append({BUDGET: budget})
        else:
            raise UserError(
                f"a budget is {budget!r}", where=file,
                expected=f"a number (of {BUDGET}) or a dict of options, e.g. {{'split.percent': 1}}",
            )  # fmt: skip
    return found


def _seeds(value: Any, key: str, file: Path) -> list[int]:
    seeds = value if isinstance(value, list) else [value]
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"{key} has {seed!r}", where=file, expected="whole numbers, not negative")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{key} has a number twice", where=file)
    return seeds


def _mapping(value: Any, key: str, file: Path) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{key} is {value!r}", where=file, expected="a dict")
    return dict(value)


def _lists(value: Any) -> Any:
    """A value with lists in place of tuples."""
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, (list, tuple)) else value


def _strings(value: Any) -> Iterator[str]:
    yield from [] if value is None else [value] if isinstance(value, str) else value
