"""The command line. Nothing heavy is imported before a command needs it: ``--help`` answers at once."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferbench.config import DATA_VARIABLE, config_root, find_config, load_config, parse_options
from ferbench.core import process
from ferbench.core.config_files import ALGORITHMS, find_algorithm
from ferbench.core.hashing import sha256
from ferbench.core.keys import LAUNCHERS
from ferbench.core.process import tune_process
from ferbench.errors import DiskFull, ExitStatus, Stopped, UserError, disk_full, path_refused
from ferbench.scaffold.write import KINDS, new_plugin
from ferbench.version import __version__

if TYPE_CHECKING:
    from mmengine import Config

GRID_LAUNCHERS = ("local", "slurm", "ray")

# Every process of a run meets the same mistake. The others give the first one this long to say it and be
# stopped with it by the launcher; a process that is still alive then has a mistake of its own.
SECONDS_FOR_FIRST_RANK = 5.0


def entry_point(argv: Sequence[str] | None = None) -> int:
    """`main` for a process that ends with it: a signal that comes after the end of the command changes nothing any more."""
    try:
        return main(argv)
    except KeyboardInterrupt:  # a signal in the instants in which `main` hears none
        return ExitStatus.INTERRUPTED
    finally:
        process.ignore_ending_signals()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns an `ExitStatus`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # it writes what is open first; a full disk is met, and told, later
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack letters of some names
    args = _parser(words).parse_args(words)
    process.command_line = tuple(words)
    try:
        return args.run(args)
    except UserError as error:
        return _fail(args, error)
    except Stopped as stop:
        return _stopped(args, stop)
    except KeyboardInterrupt:
        _say(args, f"interrupted{_how_to_resume(args)}")
        return ExitStatus.INTERRUPTED
    except Exception as error:
        full, refused = disk_full(error), path_refused(error)
        how = _how_to_resume(args)
        if full is not None:
            return _fail(
                args, DiskFull("no space is left on the disk", where=full.filename, fix=f"free some{how}")
            )
        if refused is None:
            raise
        found, path = refused
        return _fail(args, UserError(found, where=path, fix=f"name another place, or mend this one{how}"))
    finally:
        process.command_line = ()


def default_work_dir(
    config: Path,
    seed: int,
    options: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    data: str | Path | None = None,
    algorithm: Path | None = None,
) -> Path:
    """``work_dirs/<folder of the config>/<config>/seed<N>``, and ``-`` with eight digits where something else was chosen.

    An algorithm that was chosen takes the place of the folder: ``work_dirs/<algorithm>/<config>/seed<N>``. The digits are a
    hash of options, plug-ins, data folder, and an algorithm's file that is not shipped: the same command finds its folder
    again, in whatever order its options are given, and another one does not meet a run that it is not.
    """
    default, chosen = Path("data").resolve(), Path(data or os.environ.get(DATA_VARIABLE) or "data")
    folder = chosen.expanduser().resolve()
    given = {
        "options": {key: value for key, value in (options or {}).items() if key != "randomness.seed"},
        "plugins": [
            str(Path(p).expanduser().resolve()) if Path(p).expanduser().exists() else p for p in plugins
        ],
        "data": None if folder == default else str(folder),
    }
    if algorithm is not None and algorithm.parent != config_root() / ALGORITHMS:
        given["algorithm"] = str(algorithm)
    text = json.dumps(given, sort_keys=True, default=repr)
    suffix = f"-{sha256(text)[:8]}" if any(given.values()) else ""
    first = config.parent.name if algorithm is None else algorithm.stem
    return Path("work_dirs") / first / config.stem / f"seed{seed}{suffix}"


def _train(args: argparse.Namespace) -> int:
    tune_process()
    data = args.data or os.environ.get(DATA_VARIABLE)
    cfg = _load(args)
    seed = _set_seed(cfg, args.seed)
    algorithm = find_algorithm(args.algorithm) if args.algorithm else None
    args.work_dir = (
        args.work_dir
        or cfg.get("work_dir")
        or default_work_dir(
            find_config(args.config), seed, parse_options(args.cfg_options), args.plugin, data, algorithm
        )
    )
    from ferbench.distributed import leave
    from ferbench.engine import api

    api.train(
        cfg,
        work_dir=str(args.work_dir),
        resume=args.resume,
        overwrite=args.overwrite,
        take_over=args.take_over,
    )
    leave()
    return 0


def _test(args: argparse.Namespace) -> int:
    tune_process()
    checkpoint = Path(args.checkpoint).expanduser()
    if not checkpoint.is_file():
        raise UserError("the checkpoint does not exist", where=checkpoint, expected="a .pth file of a run")
    cfg = _load(args)
    from ferbench.distributed import leave
    from ferbench.engine import api

    api.test(cfg, str(checkpoint), out=args.out)
    leave()
    return 0


def _list(args: argparse.Namespace) -> int:
    from ferbench.core import listing, plugins

    for spec in args.plugin:
        plugins.load(spec)
    listing.show(args.kind, args.json)
    return 0


def _weights(args: argparse.Namespace) -> int:
    from ferbench.models import command

    try:
        return command.run(args.action, args.names)
    except BrokenPipeError:  # whoever reads it (`| head`) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.OK


def _check_data(args: argparse.Namespace) -> int:
    cfg = _load(args)
    from ferbench.data.check import print_report, run_check
    from ferbench.engine.build import dataset_builders

    report = run_check(dataset_builders(cfg), limit=args.limit)
    print_report(report)
    return report.exit_code


def _benchmark(args: argparse.Namespace) -> int:
    from ferbench.benchmark.runner import Options, benchmark

    return benchmark(
        Options(
            grid=args.config, out=args.out, data=args.data, jobs=args.jobs, launcher=args.launcher,
            resume=args.resume, retry_failed=args.retry_failed, take_over=args.take_over,
            only=tuple(args.only), dry_run=args.dry_run, trials=args.tune, plugins=tuple(args.plugin),
            command=process.command(),
        )
    )  # fmt: skip


def _make_synthetic(args: argparse.Namespace) -> int:
    from ferbench.synthetic import layouts

    return layouts.run(args)


def _new_plugin(args: argparse.Namespace) -> int:
    folder = new_plugin(args.name, args.kind, args.out)
    print(f"wrote {folder}; next:\n  cd {shlex.quote(str(folder))}\n  python -m pytest\n  pip install .")
    return 0


def _report(args: argparse.Namespace) -> int:
    from ferbench.benchmark.report import Options, watch, write_report

    options = Options(args.reference, args.metric, args.row, args.latex)
    if args.watch is None:
        for page in write_report(args.records, args.out, options):
            print(page)
        return 0
    with suppress(KeyboardInterrupt):  # how watching ends
        for update in watch(args.records, args.out, options, args.watch):
            print(update, flush=True)
    return 0


def _load(args: argparse.Namespace) -> Config:
    cfg = load_config(args.config, parse_options(args.cfg_options), args.plugin, args.data, args.algorithm)
    cfg.launcher = getattr(args, "launcher", "none")
    return cfg


def _set_seed(cfg: Config, seed: int | None) -> int:
    randomness = dict(cfg.get("randomness") or {})
    randomness["seed"] = seed if seed is not None else randomness.get("seed") or 0
    cfg.randomness = randomness
    return randomness["seed"]


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferbench", description="Semi-supervised facial expression recognition, compared fairly."
    )
    parser.add_argument("--version", action="version", version=f"ferbench {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train, validate, and test a config")
    _add_config_options(train)
    _add_launcher(train)
    train.add_argument(
        "--work-dir",
        metavar="DIR",
        help="default: work_dirs/<algorithm>/<config>/seed<N>, with a hash of options, plug-ins and data that are given",
    )
    train.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="PATH",
        help="go on from the newest checkpoint of the work dir, or from PATH",
    )
    train.add_argument("--overwrite", action="store_true", help="replace an earlier run in the work dir")
    train.add_argument(
        "--take-over", action="store_true", help="go on in a folder that is locked by a machine that is gone"
    )
    train.add_argument("--seed", type=int, metavar="N", help="default: the config's, else 0")
    train.set_defaults(run=_train)

    test = commands.add_parser("test", help="evaluate a checkpoint on the config's test data")
    _add_config_options(test)
    test.add_argument("checkpoint", metavar="CHECKPOINT")
    test.add_argument("--out", metavar="DIR", help="new folder for scores.json and a csv of all predictions")
    _add_launcher(test)
    test.set_defaults(run=_test)

    listing = commands.add_parser("list", help="show every registered part and where it comes from")
    listing.add_argument("--kind", help="only one kind, e.g. threshold")
    listing.add_argument("--json", action="store_true", help="machine-readable")
    _add_plugin(listing)
    listing.set_defaults(run=_list)

    weights = commands.add_parser(
        "weights", help="weights that are known by name: list them, get them, verify them"
    )
    weights.add_argument("action", choices=("list", "info", "get", "verify"))
    weights.add_argument("names", nargs="*", metavar="NAME", help="default of list and verify: all")
    weights.set_defaults(run=_weights)

    report = commands.add_parser(
        "report", help="compare run records: HTML and Markdown pages with tables and pictures"
    )
    _add_report_options(report)
    report.set_defaults(run=_report)

    check = commands.add_parser("check-data", help="look at every file a config needs; exit 1 on a defect")
    _add_config_options(check)
    check.add_argument(
        "--limit", type=int, metavar="N", help="read at most N images of each dataset (default: all)"
    )
    check.set_defaults(run=_check_data)

    plugin = commands.add_parser("new-plugin", help="write a package of your own, with its tests")
    plugin.add_argument("name", metavar="NAME", help="of the package")
    plugin.add_argument("--kind", choices=KINDS, required=True)
    plugin.add_argument("--out", default=".", metavar="DIR", help="folder to write it into (default: here)")
    plugin.set_defaults(run=_new_plugin)

    _add_benchmark(commands)

    synthetic = commands.add_parser("make-synthetic", help="draw synthetic faces in the layouts of real data")
    if words[:1] == ["make-synthetic"]:  # its defaults live in a module that imports NumPy
        from ferbench.synthetic import layouts

        layouts.add_arguments(synthetic)
    synthetic.set_defaults(run=_make_synthetic)
    return parser


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    grid = commands.add_parser("benchmark", help="run a grid: algorithms x budgets x seeds x data sets")
    grid.add_argument(
        "config", metavar="GRID", help="a file, or a shipped grid such as grids/tiny_synthetic.py"
    )
    grid.add_argument(
        "--data", metavar="DIR", help="folder of the data sets (default: $FERBENCH_DATA or data)"
    )
    grid.add_argument("--out", metavar="DIR", help="default: work_dirs/benchmark/<name of the grid>")
    grid.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: 1; on a cluster: all)")
    grid.add_argument("--dry-run", action="store_true", help="check everything, show the plan, run nothing")
    grid.add_argument("--resume", action="store_true", help="go on where the grid in the folder is")
    grid.add_argument("--retry-failed", action="store_true", help="the same, and do failed runs again")
    grid.add_argument(
        "--take-over",
        action="store_true",
        help="with --resume: also do runs that are locked by a machine that is gone",
    )
    grid.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="PATTERN",
        help="do only the runs whose folder below runs/, or names, fit a pattern, e.g. '*/FixMatch*/seed0'",
    )  # fmt: skip
    grid.add_argument(
        "--tune", type=int, metavar="K", help="first K tuning trials for each algorithm, on validation"
    )
    grid.add_argument("--launcher", choices=GRID_LAUNCHERS, default="local", help="where runs are done")
    _add_plugin(grid)
    grid.set_defaults(run=_benchmark)


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        metavar="CONFIG",
        help="a file, a shipped config such as dtm/r18_fer2013.py, or with --algorithm a setting such as r18_fer2013",
    )
    parser.add_argument(
        "--algorithm",
        metavar="NAME|FILE",
        help="in place of the config's: one of `ferbench list --kind algorithm-config`, or a file that has one",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change the config"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data sets (default: $FERBENCH_DATA or data)"
    )
    _add_plugin(parser)


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", nargs="+", metavar="RECORDS", help="record files, and folders with some")
    parser.add_argument("-o", "--out", metavar="DIR", default="report", help="default: report")
    parser.add_argument(
        "--reference", metavar="LABEL", help="algorithm to compare with (default: FixMatch, else Supervised)"
    )
    parser.add_argument(
        "--metric",
        default="macro_f1",
        help="macro_f1 (default), accuracy, balanced_accuracy, or another metric of the records",
    )
    parser.add_argument(
        "--row",
        default="best_ema",
        help="scores to compare: best_ema (default), best_raw, last_ema, last_raw; of videos also ..._smoothed",
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=30.0,
        metavar="SECONDS",
        help="look for news every 30 (or so many) s",
    )
    parser.add_argument("--latex", action="store_true", help="write table.tex, too (booktabs)")


def _add_plugin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plugin",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE|PACKAGE",
        help="import parts of your own",
    )


def _add_launcher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="who started the processes")


def _rank(args: argparse.Namespace) -> int:
    variable = {"pytorch": "RANK", "slurm": "SLURM_PROCID"}.get(getattr(args, "launcher", "none"))
    return int(os.environ.get(variable, "0")) if variable else 0


def _fail(args: argparse.Namespace, error: UserError) -> int:
    _say(args, str(error))
    status = ExitStatus.DISK_FULL if disk_full(error) else error.status
    if getattr(args, "launcher", "none") in LAUNCHERS[1:]:
        from ferbench.distributed import world_size

        if world_size() > 1:  # taking down a group, of which a process may hang, may take for ever
            process.end(status)
    return status


def _stopped(args: argparse.Namespace, stop: Stopped) -> int:
    """Each process knows of it; one says so."""
    from ferbench.distributed import leave

    if _rank(args) == 0:
        print(f"{stop}{_how_to_resume(args)}", file=sys.stderr, flush=True)
    leave(stop.status)
    return stop.status


def _say(args: argparse.Namespace, message: str) -> None:
    rank = _rank(args)
    if rank:
        time.sleep(SECONDS_FOR_FIRST_RANK)
    who = f" (process {rank})" if rank else ""
    with suppress(OSError):
        print(f"error{who}: {message}", file=sys.stderr, flush=True)
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # where they go to a full disk, Python would end with a status of its own
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _how_to_resume(args: argparse.Namespace) -> str:
    if args.command == "benchmark":
        given = [word for word in process.command_line if word != "--take-over"]
        words = ["ferbench", *given, *([] if args.resume else ["--resume"])]
    elif args.command == "train" and args.work_dir:
        if args.launcher != "none":
            return "; go on with the same command and --resume"
        words = ["ferbench", *_without_resume(process.command_line, args.resume), "--resume"]
    else:
        return ""
    return "; go on with: " + shlex.join(words)


def _without_resume(words: Sequence[str], value: bool | str) -> list[str]:
    """A command line without what says how a run in its folder is to be begun."""
    kept: list[str] = []
    for i, word in enumerate(words):
        if word in ("--resume", "--overwrite", "--take-over") or word.startswith("--resume="):
            continue
        if word == value and words[i - 1] == "--resume":
            continue
        kept.append(word)
    return kept
