"""Grid files: what they mean, and that every mistake is found before anything runs."""

from __future__ import annotations

import pytest

from ferbench import records
from ferbench.benchmark import store, tuning
from ferbench.benchmark.check import check_runs
from ferbench.benchmark.grid import (
    Entry,
    Run,
    config_of,
    name_of,
    read_grid,
    require_own_folders,
    runs_of,
    slug,
)
from ferbench.benchmark.store import Store
from ferbench.config import config_root, load_config
from ferbench.errors import UserError
from ferbench.records.protocol import difference

GRIDS = sorted(p.relative_to(config_root()).as_posix() for p in (config_root() / "grids").glob("*.py"))

ALGORITHMS = """
algorithms = {
    "Supervised": dict(type="Supervised"),
    "FixMatch 0.4": dict(type="FixMatch", threshold=0.4),
    "DTM": dict(type="DTM", floor=0.2, rule=dict(init=0.3), search={"floor": [0.1, 0.2], "rule.init": (0.3, 0.4, 0.5)}),
}
"""

#: A rule with an argument that may be infinite.
ANY_LEVEL = """
from ferbench.registry import THRESHOLDS
from ferbench.thresholds import FixedThreshold

@THRESHOLDS.register_module(force=True)
class AnyLevel(FixedThreshold):
    def __init__(self, level):
        super().__init__()
        self.threshold = level
"""


@pytest.fixture
def grid_file(tmp_path, config_file):
    """Writes a grid of the tiny experiment, with more lines or other ones."""

    def write(
        *lines, base=f'base = "{config_file}"', algorithms=ALGORITHMS, seeds="seeds = [0, 1]", name="grid.py"
    ):
        file = tmp_path / name
        file.write_text("\n".join([base, algorithms, seeds, *lines]))
        return file

    return write


def refused(*sentences):
    """An error that says all of this."""
    return pytest.raises(UserError, match="".join(f"(?=(?:.|\n)*{s})" for s in sentences))


class TestReading:
    def test_every_part(self, grid_file, config_file):
        grid = read_grid(
            grid_file(
                'budgets = [5, {"split.per_class": None, "split.total": 30}]',
                'options = {"train_cfg.max_iters": 4}',
                "name = 'mine'\nsplit_seed = 7\ntuning_seed = 99\nplugins = 'a_plugin'",
                "slurm = dict(slurm_partition='gpu')\nray = dict(num_gpus=1)\n_helper = 3",
            )
        )
        assert grid.name == "mine"
        assert grid.bases == {"tiny": str(config_file)}
        assert grid.algorithms["FixMatch 0.4"] == Entry({"type": "FixMatch", "threshold": 0.4})
        assert grid.algorithms["DTM"] == Entry(
            {"type": "DTM", "floor": 0.2, "rule": {"init": 0.3}},
            {"floor": [0.1, 0.2], "rule.init": [0.3, 0.4, 0.5]},
        )
        assert grid.budgets == [{"split.per_class": 5}, {"split.per_class": None, "split.total": 30}]
        assert (grid.seeds, grid.options) == ([0, 1], {"train_cfg.max_iters": 4})
        assert (grid.split_seed, grid.tuning_seed, grid.plugins) == (7, 99, ("a_plugin",))
        assert (grid.slurm, grid.ray) == ({"slurm_partition": "gpu"}, {"num_gpus": 1})

    def test_one_of_each(self, grid_file):
        grid = read_grid(grid_file("budgets = 5", seeds="seeds = 3"))
        assert (grid.budgets, grid.seeds, grid.name) == ([{"split.per_class": 5}], [3], "grid")
        assert read_grid(grid_file(seeds="seeds = (0, 2)")).seeds == [0, 2]
        assert read_grid(grid_file(seeds="seeds = list(range(3))")).seeds == [0, 1, 2]
        assert read_grid(grid_file()).budgets == [{}]

    def test_the_algorithm_of_a_config(self, grid_file):
        algorithms = """algorithms = {
            "A": "dtm/r18_fer2013.py", "B": dict(config="fixmatch/r18_fer2013.py", search=dict(threshold=[0.8, 0.9]))}"""
        found = read_grid(grid_file(algorithms=algorithms)).algorithms
        assert found["A"].config == load_config("dtm/r18_fer2013.py").model.algorithm.to_dict()
        assert found["B"] == Entry({"type": "FixMatch", "threshold": 0.95}, {"threshold": [0.8, 0.9]})

    def test_a_named_algorithm_is_as_its_file_says_for_each_setting(self, grid_file, tmp_path):
        (tmp_path / "mine.py").write_text(
            "custom_imports = dict(imports=['json'])\nmodel = dict(algorithm=dict(type='FixMatch', threshold=0.9))\n"
            "overrides = dict(large_data=dict(threshold=0.8))"
        )
        algorithms = f"""algorithms = {{"S": "softmatch", "F": "fixmatch", "M": {str(tmp_path / "mine.py")!r},
            "T": dict(config="softmatch", search=dict(n_sigma=[2, 3]))}}"""
        bases = 'base = dict(small="r18_fer2013", large="r50_abaw5", run="dtm/tiny_synthetic.py")'
        grid = read_grid(grid_file(base=bases, algorithms=algorithms, seeds="seeds = [0]"))
        found = {(run.label, run.dataset): run.algorithm for run in runs_of(grid)}
        assert [found["S", d]["momentum"] for d in grid.bases] == [0.99, 0.999, 0.99]
        assert [found["M", d]["threshold"] for d in grid.bases] == [0.9, 0.8, 0.9]
        assert all(found["F", d] == {"type": "FixMatch", "threshold": 0.95} for d in grid.bases)
        assert grid.plugins == ("json",)
        trials = [run for run in tuning.tuned_runs(grid, runs_of(grid), 2) if run.trial is not None]
        assert {(r.dataset, r.algorithm["n_sigma"], r.algorithm["momentum"]) for r in trials} == {
            (d, n, m) for d, m in zip(grid.bases, (0.99, 0.999, 0.99), strict=True) for n in (2, 3)
        }

    def test_several_data_sets(self, grid_file):
        base = 'base = dict(one="fixmatch/r18_fer2013.py", two="r18_ferplus")'
        assert list(read_grid(grid_file(base=base)).bases) == ["one", "two"]
        base = 'base = ["fixmatch/r18_fer2013.py", "r18_ferplus"]'
        assert list(read_grid(grid_file(base=base)).bases) == ["r18_fer2013", "r18_ferplus"]

    def test_a_grid_inherits_another(self, grid_file, tmp_path):
        grid_file(name="first.py")
        child = tmp_path / "child.py"
        child.write_text("_base_ = './first.py'\nseeds = [5]\nalgorithms = {'UDA': dict(type='Supervised')}")
        grid = read_grid(child)
        assert (grid.name, grid.seeds) == ("child", [5])
        assert list(grid.algorithms) == ["Supervised", "FixMatch 0.4", "DTM", "UDA"]

    @pytest.mark.parametrize(("lines", "sentences"), [
        ({"lines": ["seed = 3"]}, ["no key 'seed'", "did you mean 'seeds'"]),
        ({"lines": ["options = [1]"]}, [r"options is \[1\]", "a dict"]),
        ({"lines": ["budgets = ['25']"]}, ["a budget is '25'", "a number"]),
        ({"lines": ["split_seed = 'x'"]}, ["split_seed has 'x'"]),
        ({"lines": ["keep = 'last'"]}, ["keep is 'last'", "'all' or 'best' or 'none'"]),
        ({"lines": ["processes = 0"]}, ["processes is 0", "at least 1"]),
        ({"lines": ["processes = True"]}, ["processes is True"]),
        ({"lines": ["tuning_seed = 1"]}, ["tuning_seed is 1", "also a seed of the comparison"]),
        ({"seeds": ""}, ["the grid has no 'seeds'"]),
        ({"seeds": "seeds = [0, 0]"}, ["seeds has a number twice"]),
        ({"seeds": "seeds = [0, -1]"}, ["seeds has -1"]),
        ({"seeds": "seeds = [True]"}, ["seeds has True"]),
        ({"base": ""}, ["the grid has no 'base'"]),
        ({"base": "base = 3"}, ["base is 3", "a config"]),
        ({"base": 'base = ["a/x.py", "b/x.py"]'}, ["two bases have the same name"]),
        ({"algorithms": "algorithms = {}"}, ["the grid has no 'algorithms'"]),
        ({"algorithms": "algorithms = {'A': dict(threshold=1)}"}, ["the algorithm 'A' is", "dict\\(type="]),
        ({"algorithms": "algorithms = {'A': dict(config='dtm/r18_fer2013.py', floor=1)}"}, ["floor cannot be set"]),
        ({"algorithms": "algorithms = {'A': 'dtm/r18_fer2103.py'}"}, ["no algorithm file"]),
        ({"algorithms": "algorithms = {'A': 'fixmach'}"}, ["no algorithm 'fixmach'", "did you mean 'fixmatch'"]),
        ({"algorithms": "algorithms = {'A': 'fixmatch/r18.py'}"}, ["no algorithm file"]),
        ({"algorithms": "algorithms = {'A': 'uda/r18_fer2013.py'}"}, ["in a grid: 'uda'"]),
        ({"algorithms": "algorithms = {'A': dict(config=3)}"}, ["config is 3"]),
        ({"algorithms": "algorithms = {'A': '_base_/schedules/ssl.py'}"}, ["no model.algorithm"]),
        ({"algorithms": "algorithms = {'A': dict(type='FixMatch', search=dict(threshold=0.9))}"}, ["a list of values"]),
        ({"lines": ["1 /"]}, ["SyntaxError", "grid.py:"]),
    ])  # fmt: skip
    def test_mistakes(self, lines, sentences, grid_file):
        file = grid_file(*lines.pop("lines", ()), **lines)
        with refused(*sentences):
            read_grid(file)

    def test_no_such_grid(self):
        with refused("there is no config", "did you mean 'grids/tiny_synthetic.py'"):
            read_grid("grids/tiny_syntetic.py")


class TestRuns:
    def test_whole_seeds_first(self, grid_file):
        runs = runs_of(read_grid(grid_file("budgets = [5, 10]")))
        assert [(r.seed, r.budget["split.per_class"], r.label) for r in runs] == [
            (seed, budget, label) for seed in (0, 1) for budget in (5, 10) for label in ("Supervised", "FixMatch 0.4", "DTM")
        ]  # fmt: skip
        assert runs[1].id == "tiny/per_class=5/FixMatch-0.4/seed0"
        assert str(runs[1]) == "tiny · per_class=5 · FixMatch 0.4 · seed 0"
        assert len({r.id for r in runs}) == len(runs)

    @pytest.mark.parametrize(("text", "name"), [
        ("FixMatch 0.8", "FixMatch-0.8"), ("a/b\\c", "a-b-c"), ("..", "all"), ("µ-Match", "µ-Match"), ("", "all"),
    ])  # fmt: skip
    def test_names_of_folders(self, text, name):
        assert slug(text) == name

    def test_long_names_are_cut_but_differ(self):
        one, two = slug("x" * 200), slug("x" * 201)
        assert len(one) == len(two) < 100
        assert one != two

    def test_names_of_budgets(self):
        assert name_of({"split.per_class": None, "split.percent": 0.5}) == "percent=0.5"
        assert name_of({}) == ""
        without = {"split.per_class": 100, "unlabeled_dataloader.dataset": None}
        assert name_of(without) == "per_class=100, dataset=None"  # else it would look like the budget with it

    def test_labels_that_make_the_same_folder(self, grid_file):
        algorithms = (
            "algorithms = {'Fix Match': dict(type='Supervised'), 'fix-match': dict(type='Supervised')}"
        )
        with refused("the same name: tiny · Fix Match · seed 0, and tiny · fix-match"):
            runs_of(read_grid(grid_file(algorithms=algorithms)))


class TestConfigs:
    def test_all_that_a_grid_decides(self, grid_file, images):
        grid = read_grid(
            grid_file("budgets = [5]", 'options = {"train_cfg.max_iters": 4, "log_level": "ERROR"}')
        )
        run = runs_of(grid)[-1]
        cfg = config_of(run, grid, images, "ferbench benchmark grid.py")
        assert cfg.model.algorithm.to_dict() == {"type": "DTM", "floor": 0.2, "rule": {"init": 0.3}}
        assert (cfg.randomness.seed, cfg.split.seed, cfg.split.per_class) == (1, 1, 5)
        assert (cfg.train_cfg.max_iters, cfg.log_level) == (4, "ERROR")
        hook = cfg.default_hooks.record
        assert (hook.type, hook.label) == ("RunRecord", "DTM")
        assert hook.cell.to_dict() == {
            "grid": "grid", "dataset": "tiny", "budget": {"split.per_class": 5},
            "command": "ferbench benchmark grid.py", "trial": None, "trials": None,
        }  # fmt: skip

    def test_one_split_for_all_seeds(self, grid_file, images):
        grid = read_grid(grid_file("split_seed = 0"))
        assert [config_of(r, grid, images).split.seed for r in runs_of(grid)] == [0] * 6

    @pytest.mark.parametrize("option", ["{'split': None}", "{'split.file': 'mine.json'}"])
    def test_a_split_that_is_not_drawn(self, option, grid_file, images):
        grid = read_grid(grid_file(f"options = {option}"))
        split = config_of(runs_of(grid)[-1], grid, images).split
        assert split is None or split.seed == 0

    def test_what_is_written_trains_the_same_run(self, grid_file, images, tmp_path):
        """By way of a file, with the data folder by its variable."""
        grid = read_grid(grid_file("budgets = [5]", 'options = {"model.ema_decay": 0.5}'))
        for checked in check_runs(grid, runs_of(grid)[:3], images):
            file = Store(tmp_path / "out").write_config(checked)
            text = file.read_text()
            assert str(images) not in text
            again = load_config(file, data=images)
            original = config_of(checked.run, grid, images)
            assert difference(again.to_dict(), store_lists(original.to_dict())) == []

    def test_numbers_that_python_has_no_word_for(self, grid_file, images, tmp_path):
        part = tmp_path / "any_level.py"
        part.write_text(ANY_LEVEL)
        rule = "dict(type='AnyLevel', level=float('inf'))"
        algorithms = f"algorithms = {{'A': dict(type='Matching', threshold={rule})}}"
        grid = read_grid(grid_file(f"plugins = '{part}'", algorithms=algorithms))
        [checked, _] = check_runs(grid, runs_of(grid), images)
        again = load_config(Store(tmp_path / "out").write_config(checked), data=images)
        assert again.model.algorithm.threshold.level == float("inf")
        assert checked.identity["model"]["algorithm"]["threshold"]["level"] == "inf"


def store_lists(value):
    if isinstance(value, dict):
        return {k: store_lists(v) for k, v in value.items()}
    return [store_lists(v) for v in value] if isinstance(value, (list, tuple)) else value


class TestChecks:
    def test_what_runs_cost(self, grid_file, images):
        """12 iterations of 8 labeled and, for who reads them, 16 unlabeled images."""
        grid = read_grid(grid_file())
        checked = check_runs(grid, runs_of(grid)[:3], images)
        assert [(c.iterations, c.images) for c in checked] == [(12, 96), (12, 288), (12, 288)]
        assert checked[0].classes == ["blank", "cross", "disc", "stripes"]

    def test_the_same_run_has_the_same_identity(self, grid_file, images, tmp_path):
        """Wherever the data lie, whatever command asks for it."""
        grid = read_grid(grid_file())
        (tmp_path / "link").symlink_to(images)
        run = runs_of(grid)[0]
        [one], [two] = (check_runs(grid, [run], d, c) for d, c in ((images, "a"), (tmp_path / "link", "b")))
        assert one.identity == two.identity
        assert one.config == two.config | {"default_hooks": one.config["default_hooks"]}

    @pytest.mark.parametrize(("changes", "sentences"), [
        ({"algorithms": "algorithms = {'A': dict(type='Supervised'), 'B': dict(type='FixMach')}"},
         ["B · seed 0", "no algorithm named 'FixMach'", "did you mean 'FixMatch'"]),
        ({"algorithms": "algorithms = {'A': dict(type='FixMatch', treshold=0.9)}"}, ["no parameter 'treshold'", "'threshold'"]),
        ({"algorithms": "algorithms = {'A': dict(type='DTM', rule=dict(bta=1))}"}, ["A · seed 0", "'bta'"]),
        ({"lines": ["options = {'train_cfg.max_iter': 3}"]}, ["no parameter 'max_iter'"]),
        ({"lines": ["options = {'trian_cfg.max_iters': 3}"]}, ["no key 'trian_cfg'"]),
        ({"lines": ["options = {'train_cfg.max_iters': 'many'}"]}, ["max_iters is 'many'"]),
        ({"lines": ["budgets = [10, 1000]"]}, ["per_class=1000", "class 'blank' has too few images"]),
        ({"lines": ["budgets = [0]"]}, ["the labeled stream has no images"]),
        ({"lines": ["options = {'model.backbone.type': 'TinyPlane'}"]}, ["'TinyPlane'"]),
        ({"lines": ["options = {'views.size': 32}"]}, ["views of 32 px"]),
        ({"lines": ["options = {'unlabeled_dataloader': None}"]}, ["FixMatch 0.4' needs unlabeled images"]),
        ({"lines": ["options = {'optim_wrapper.optimizer.type': 'SDG'}"]}, ["SDG"]),
        ({"lines": ["options = {'param_scheduler.warmupp': 1}"]}, ["no parameter 'warmupp'"]),
        ({"lines": ["options = {'default_hooks.monitor.intervall': 1}"]}, ["no parameter 'intervall'"]),
        ({"lines": ["options = {'test_evaluator.type': 'Metrics'}"]}, ["Metrics"]),
        ({"lines": ["options = {'custom_hooks': [{'type': 'EMAHook'}]}"]}, ["EMAHook is a hook for the loops"]),
        ({"lines": ["options = {'param_scheduler': {'type': 'ExponentialLR', 'gamma': 0.9}}"]}, ["counts epochs"]),
        ({"lines": ["options = {'default_hooks.checkpoint.metric': 'acc'}"]}, ["'acc', which is no score"]),
        ({"lines": ["options = {'test_dataloader.dataset.root': '/nowhere'}"]}, ["/nowhere"]),
        ({"lines": ["options = {'train_dataloader.batch_size': 0}"]}, ["batch of the labeled stream is 0"]),
        ({"lines": ["options = {'unlabeled_dataloader.mu': 0.5}"]}, ["unlabeled_dataloader.mu is 0.5"]),
        ({"lines": ["options = {'unlabeled_dataloader.mu': 9000}"]}, ["unlabeled stream is 72000 images"]),
        ({"base": "base = '_base_/schedules/ssl.py'"}, ["no 'model'"]),
    ])  # fmt: skip
    def test_mistakes(self, changes, sentences, grid_file, images):
        grid = read_grid(grid_file(*changes.pop("lines", ()), **changes))
        with refused("the grid cannot be run", *sentences):
            check_runs(grid, runs_of(grid), images)


@pytest.mark.parametrize("name", GRIDS)
def test_shipped_grids(name):
    """Their algorithms and options fit their bases (their data are not here)."""
    grid = read_grid(name)
    assert len((config_root() / name).read_text().splitlines()) <= 40
    runs = runs_of(grid)
    require_own_folders(tuning.tuned_runs(grid, runs, 2), grid)
    for run in runs:
        if run.seed == grid.seeds[0]:
            config_of(run, grid, None)


class TestStore:
    @pytest.fixture
    def checked(self, grid_file, images):
        def checked(*lines, **changes):
            grid = read_grid(grid_file(*lines, **changes))
            return grid, check_runs(grid, runs_of(grid), images)

        return checked

    def test_the_same_grid(self, checked, tmp_path):
        grid, runs = checked()
        own = Store(tmp_path / "out")
        own.require_this(grid, runs)
        assert not (tmp_path / "out").exists()
        own.open(grid, runs, resume=False)
        with refused("already holds this grid", "--resume"):
            own.open(grid, runs, resume=False)
        own.open(grid, runs, resume=True)

    def test_a_grid_that_has_grown(self, checked, tmp_path):
        own = Store(tmp_path / "out")
        own.open(*checked(seeds="seeds = [0]"), resume=False)
        own.open(*checked(seeds="seeds = [0, 1]"), resume=True)
        with refused("another grid", "it lacks tiny/all/Supervised/seed1"):
            own.open(*checked(seeds="seeds = [0]"), resume=True)

    @pytest.mark.parametrize(("changes", "sentences"), [
        ({"lines": ["options = {'train_cfg.max_iters': 13}"]}, ["Supervised/seed0: train_cfg.max_iters: 12 and 13", ".*more"]),
        ({"lines": ["name = 'other'"]}, ["its name is 'other' instead of 'grid'"]),
        ({"lines": ["split_seed = 0"]}, ["Supervised/seed1: split.seed: 1 and 0"]),
    ])  # fmt: skip
    def test_another_grid(self, changes, sentences, checked, tmp_path):
        own = Store(tmp_path / "out")
        own.open(*checked(), resume=False)
        before = (tmp_path / "out" / "grid.json").read_bytes()
        other = checked(*changes["lines"])
        with refused("another grid", *sentences):
            own.require_this(*other)
        with refused("another grid", *sentences):
            own.open(*other, resume=True)
        assert (tmp_path / "out" / "grid.json").read_bytes() == before

    def test_a_folder_with_other_things(self, checked, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("")
        with refused("holds something else"):
            Store(tmp_path / "out").open(*checked(), resume=True)

    @pytest.mark.parametrize(("content", "sentence"), [
        ("{", "cannot be read"), ("[]", "not a JSON object"), ('{"format": 9}', "has format 9"),
    ])  # fmt: skip
    def test_a_damaged_file(self, content, sentence, checked, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "grid.json").write_text(content)
        with refused(sentence, "grid.json"):
            Store(tmp_path / "out").open(*checked(), resume=True)

    def test_how_far_runs_have_come(self, tmp_path, make_record, failed_record):
        own, run = Store(tmp_path), Run("d", {}, "A", {"type": "A"}, 0)
        folder = own.run_folder(run)
        assert own.state(run).word == store.TODO
        folder.mkdir(parents=True)
        (folder / "last.pth").write_bytes(b"")
        assert own.state(run).word == store.UNFINISHED
        for written, word, reason in (
            (make_record(), store.DONE, None),
            (failed_record, store.FAILED, "out of memory"),
            (make_record(status="running", results=[]), store.UNFINISHED, None),
        ):
            records.write(written, folder / "record.json")
            assert (own.state(run).word, own.state(run).reason) == (word, reason)
        (folder / "record.json").write_text("{")
        state = own.state(run)
        assert (state.word, state.record) == (store.UNFINISHED, None)
        assert str(folder / "record.json") in state.reason
        held = store.lock.take(folder / ".lock")
        assert own.state(run).word == store.TAKEN
        held.release()


class TestTuning:
    SPACE = {"floor": [0.1, 0.2], "rule.init": [0.3, 0.4, 0.5]}

    def test_points_are_different_and_of_the_space(self):
        points = tuning.draw("DTM", self.SPACE, 4)
        assert len(points) == len({tuple(sorted(p.items())) for p in points}) == 4
        assert all(p["floor"] in (0.1, 0.2) and p["rule.init"] in (0.3, 0.4, 0.5) for p in points)

    def test_a_small_space_is_tried_whole(self):
        points = tuning.draw("DTM", self.SPACE, 99)
        assert sorted((p["floor"], p["rule.init"]) for p in points) == [
            (f, i) for f in (0.1, 0.2) for i in (0.3, 0.4, 0.5)
        ]

    def test_the_draw_is_the_algorithm_s_own(self):
        four = tuning.draw("DTM", self.SPACE, 4)
        assert tuning.draw("DTM", dict(reversed(self.SPACE.items())), 5)[:4] == four
        others = [tuning.draw(f"DTM {i}", self.SPACE, 4) for i in range(5)]
        assert any(other != four for other in others)

    def test_all_points_are_equally_likely(self):
        """The first of two points among 300 labels: 150 +- 4 standard deviations."""
        first = [tuning.draw(f"label {i}", {"x": [0, 1]}, 1)[0]["x"] for i in range(300)]
        assert abs(sum(first) - 150) < 4 * (300 / 4) ** 0.5

    def test_runs(self, grid_file):
        grid = read_grid(grid_file("budgets = [5, 10]"))
        runs = tuning.tuned_runs(grid, runs_of(grid), 4)
        trials = [r for r in runs if r.trial is not None]
        assert [(r.label, r.budget["split.per_class"], r.trial, r.seed) for r in trials] == [
            ("DTM", budget, i, 1000) for budget in (5, 10) for i in range(4)
        ]
        assert trials[0].id == "tiny/per_class=5/DTM/trial00"
        assert [t.algorithm for t in trials[:4]] == [t.algorithm for t in trials[4:]]
        points = [
            {"floor": t.algorithm["floor"], "rule.init": t.algorithm["rule"]["init"]} for t in trials[:4]
        ]
        assert points == tuning.draw("DTM", grid.algorithms["DTM"].search, 4)
        rest = [r for r in runs if r.trial is None]
        assert len(rest) == 12
        assert {(r.label, r.tuned, r.trials) for r in rest} == {
            ("Supervised", False, 4), ("FixMatch 0.4", False, 4), ("DTM", True, 4),
        }  # fmt: skip

    def test_parameters_do_not_change_the_entry(self):
        entry = Entry({"type": "DTM", "rule": {"init": 0.3}}, {})
        found = entry.with_parameters({"rule.init": 0.4, "target.type": "SoftTarget"})
        assert found == {"type": "DTM", "rule": {"init": 0.4}, "target": {"type": "SoftTarget"}}
        assert entry.config == {"type": "DTM", "rule": {"init": 0.3}}

    def test_the_choice_is_made_on_validation(self, make_record, make_result, failed_record):
        """Scores of the test set are the other way round."""

        def trial(number, val, test):
            row = make_result("best", "ema", val_macro_f1=val, macro_f1=test)
            return Run("d", {}, "A", {}, 1000, number), make_record(
                results=[make_result("last", "ema", val_macro_f1=1.0), row]
            )

        trials = [trial(0, 0.3, 0.9), trial(1, 0.5, 0.1), trial(2, 0.5, 0.8), trial(3, 0.4, 1.0)]
        failed = (Run("d", {}, "A", {}, 1000, 4), failed_record)
        assert tuning.choose([*trials, failed]) == 1
        assert tuning.choose(list(reversed(trials))) == 1
        assert tuning.choose([failed, (failed[0], None)]) is None
