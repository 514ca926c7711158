"""Hooks: the events they are told, those of mmengine that work here, and those that are refused before the run begins."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import mmengine.hooks
import mmpretrain.engine.hooks
import pytest
import torch
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from ferbench import records
from ferbench.benchmark.report.build import Options, write_report
from ferbench.engine import api
from ferbench.engine.hooks import events
from ferbench.errors import UserError
from ferbench.evaluation.building import build_metrics
from ferbench.evaluation.metrics import SCORES
from ferbench.registry import HOOKS, METRICS, MODELS

QUICK = {
    "model.algorithm._delete_": True, "model.algorithm.type": "Supervised", "train_cfg.max_iters": 4,
    "train_cfg.val_interval": 2, "unlabeled_dataloader": None,
}  # fmt: skip
OWN = ("after_iteration", "final_test")


@HOOKS.register_module(force=True)
class Spy(Hook):
    """Writes down every event, with the names of its arguments."""

    told: list[tuple[str, tuple[str, ...]]] = []
    seen: dict[str, dict] = {}


def _listen(event):
    def method(self, runner, **given):
        Spy.told.append((event, tuple(given)))
        Spy.seen.setdefault(event, given)

    return method


for _event in events.EVENTS:
    setattr(Spy, _event, _listen(_event))


@pytest.fixture
def spy(monkeypatch):
    monkeypatch.setattr(Spy, "told", [])
    monkeypatch.setattr(Spy, "seen", {})
    return Spy


@pytest.fixture
def train(make, tmp_path):
    """Trains the small experiment with hooks of its own."""

    def run(*hooks, folder="run", resume=False, default_hooks=None, **options):
        cfg = make({**QUICK, **{k.replace("__", "."): v for k, v in options.items()}})
        cfg.custom_hooks = list(hooks)
        cfg.default_hooks.update(default_hooks or {})
        return api.train(cfg, tmp_path / folder, resume=resume)

    return run


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.layer(inputs).mean()} if mode == "loss" else [self.layer(inputs)]


class Nothing(mmengine.evaluator.BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {"score": 0.5}


def told_by_mmengine(folder: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Events of mmengine's own loops over iterations: training with validation, then a test."""
    loader = dict(
        dataset=[torch.ones(2)] * 6, batch_size=2, sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type=lambda items: {"inputs": torch.stack(items)}),
    )  # fmt: skip
    loader["sampler"]["_scope_"] = "mmengine"
    runner = Runner(
        Toy(), str(folder), train_dataloader=loader, val_dataloader=loader, test_dataloader=loader,
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=4, val_interval=2), val_cfg={}, test_cfg={},
        val_evaluator=[Nothing()], test_evaluator=[Nothing()],
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)), custom_hooks=[Spy()], experiment_name=str(folder),
        default_hooks=dict(logger=None, timer=None, checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2)),
        default_scope="mmengine", log_level="ERROR",
    )  # fmt: skip
    runner.train()
    runner.load_checkpoint(str(folder / "iter_4.pth"))
    runner.test()
    DefaultScope._instance_dict.clear()  # else it stays that of mmengine
    return list(Spy.told)


def collapsed(told):
    """Without the number of batches, checkpoints and tests, of which the two sides have different ones."""
    told = [pair for pair in told if "checkpoint" not in pair[0] and pair[0] not in OWN]
    text = " ".join(f"{event}({','.join(names)})" for event, names in told)
    for part in ("val", "test"):
        text = re.sub(rf"((before_{part}_iter\S* after_{part}_iter\S* )+)", f"{part}-batches ", text)
    text = re.sub(r"((before_test\(\) .*? after_test\(\)) )(\2 ?)*", r"\1", text)
    return text.split()


def test_every_event_is_mmengine_s_in_its_order_and_with_its_arguments(spy, train, tmp_path):
    """Training with validation, and the final test; mmengine's second ``before_run`` and ``after_run`` are of a second call."""
    theirs = told_by_mmengine(tmp_path / "mmengine")
    spy.told = []
    train(dict(type="Spy"))
    expected = collapsed(theirs)
    again = len(expected) - 1 - expected[::-1].index("before_run()")  # Runner.test() is a call of its own
    assert expected[again - 1] == "after_run()"
    del expected[again - 1 : again + 1]
    assert collapsed(spy.told) == expected
    assert {event for event, _ in spy.told} == set(events.EVENTS)
    assert dict(spy.told) == dict(events.EVENTS)


def test_the_list_of_events_has_all_of_mmengine_s():
    assert set(events.EVENTS) - set(Hook.stages) == set(OWN)
    assert set(Hook.stages) <= set(events.EVENTS)
    for event in Hook.stages:
        names = list(inspect.signature(getattr(Hook, event)).parameters)[2:]
        assert tuple(names) == events.EVENTS[event]


def test_what_hooks_are_given(spy, train):
    """As docs/howto/plugin.md says it."""
    runner = train(dict(type="Spy"))
    seen = spy.seen
    [result] = seen["after_train_iter"]["outputs"]
    assert result.loss.ndim == 0
    assert seen["after_train_iter"]["data_batch"]["labeled"]["images"]["weak"].dtype == torch.uint8
    assert seen["before_train_iter"]["batch_idx"] == seen["before_val_iter"]["batch_idx"] == 0
    images = seen["after_val_iter"]["data_batch"]["images"]
    for weights in ("raw", "ema"):
        assert seen["after_val_iter"]["outputs"][weights].shape == (len(images), 4)
    metrics = seen["after_val_epoch"]["metrics"]
    assert metrics["macro_f1"] == metrics["ema/macro_f1"] == metrics["ema"]["macro_f1"]
    assert metrics["raw/accuracy"] == metrics["raw"]["accuracy"]
    assert {k for k, v in metrics.items() if isinstance(v, float)} <= set(runner.val_loop.score_names)
    assert {"meta", "iter", "state_dict"} <= seen["before_save_checkpoint"]["checkpoint"].keys() | {
        "state_dict"
    }


def test_every_call_of_the_tests_ends_in_a_whole_cycle(spy, train):
    """The last checkpoint, and the best of the raw and of the averaged weights."""
    train(dict(type="Spy"))
    names = [event for event, _ in spy.told]
    assert [names.count(f"{when}_test{what}") for when in ("before", "after") for what in ("", "_epoch")] == [
        3
    ] * 4


def test_the_command_that_tests_tells_hooks_of_it(spy, train, make, tmp_path):
    train()
    cfg = make(QUICK)
    cfg.custom_hooks = [dict(type="Spy")]
    spy.told = []
    api.test(cfg, tmp_path / "run" / "best_ema.pth")
    names = list(dict.fromkeys(event for event, _ in spy.told))
    assert names == [
        "before_run", "after_load_checkpoint", "before_test", "before_test_epoch", "before_test_iter", "after_test_iter",
        "after_test_epoch", "after_test", "after_run",
    ]  # fmt: skip


@HOOKS.register_module(force=True)
class Doubles(Hook):
    """Saves weights doubled and its own state beside them; takes both back when a checkpoint is loaded."""

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint["doubles"] = {"count": 3}
        checkpoint["state_dict"] = {
            k: 2 * v if v.is_floating_point() else v for k, v in checkpoint["state_dict"].items()
        }

    def after_load_checkpoint(self, runner, checkpoint):
        assert checkpoint["doubles"] == {"count": 3}
        checkpoint["state_dict"] = {
            k: v / 2 if v.is_floating_point() else v for k, v in checkpoint["state_dict"].items()
        }


def test_a_hook_may_change_what_is_saved_and_loaded(train, read, tmp_path):
    """Every load goes through it: of the best checkpoints, and of a resume."""
    train(folder="plain")
    train(dict(type="Doubles"), folder="doubled")
    train(dict(type="Doubles"), folder="doubled", resume=True)
    plain, doubled = read(tmp_path / "plain"), read(tmp_path / "doubled")
    assert plain.metrics == doubled.metrics
    key = "network.head.fc.bias"
    assert torch.equal(2 * plain.checkpoint["model"][key], doubled.checkpoint["model"][key])


@HOOKS.register_module(force=True)
class SavesItself(Hook):
    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint["mine"] = {"hook": self}


def test_what_a_checkpoint_could_not_be_read_with_is_refused_when_it_is_saved(train, tmp_path):
    """Else the run could not be resumed, which its user would find out when it is too late."""
    with pytest.raises(UserError, match=r"mine.hook is a SavesItself"):
        train(dict(type="SavesItself"))
    assert not (tmp_path / "run" / "last.pth").exists()


# --- Hooks of OpenMMLab ----------------------------------------------------------------------------------------------

THEIRS = sorted(
    f"{package.__name__.partition('.')[0]}.{name}"
    for package in (mmengine.hooks, mmpretrain.engine.hooks)
    for name, kind in vars(package).items()
    if inspect.isclass(kind) and issubclass(kind, Hook) and kind is not Hook
)


@pytest.mark.parametrize("name", [n for n in THEIRS if n.partition(".")[2] not in events.WORKING])
def test_a_hook_that_cannot_be_right_is_refused_by_name(name):
    """By its class, so before it is built, whatever the names of its parameters."""
    with pytest.raises(
        UserError, match=f"^{name.partition('.')[2]} is a hook for the loops and models"
    ) as error:
        events.check_kind(HOOKS.get(name), "custom_hooks[0]")
    assert error.value.where == "custom_hooks[0]"
    assert error.value.fix.startswith("leave it out")


@pytest.mark.parametrize("name", ["EMAHook", "mmpretrain.EMAHook", "CheckpointHook", "NPUProfilerHook"])
def test_such_a_hook_ends_a_run_before_it_begins(name, train, tmp_path):
    with pytest.raises(UserError, match=f"^{name.rpartition('.')[2]} is a hook for the loops and models"):
        train(dict(type=name))
    assert not list((tmp_path / "run").glob("*.pth"))


def test_most_of_them_say_how_the_same_is_had():
    named = {name.partition(".")[2] for name in THEIRS} - set(events.WORKING)
    of_other_models = {
        "DenseCLHook", "SimSiamHook", "SwAVHook", "SetAdaptiveMarginsHook", "PrepareProtoBeforeValLoopHook", "PrepareTTAHook",
    }  # fmt: skip
    assert named - events.INSTEAD.keys() == of_other_models


@pytest.mark.parametrize("name", sorted(events.INSTEAD))
def test_the_advice_works(name, make):
    """What a message tells one to write is a config that can be built."""
    for text in re.findall(r"\b(?:default_hooks|custom_hooks|model) = .*$", events.INSTEAD[name]):
        found: dict = {}
        exec(text, {}, found)
        [(key, value)] = found.items()
        cfg = make(QUICK)
        if key == "custom_hooks":
            cfg.custom_hooks = value
        else:
            cfg.merge_from_dict({key: value})
        for hook in [*cfg.default_hooks.values(), *cfg.custom_hooks]:
            events.check_kind(HOOKS.get(hook.get("type", "FinalReport")), "")
        MODELS.build(api.complete(cfg, "unused").model)


def test_a_hook_of_ones_own_that_extends_such_a_hook(train):
    @HOOKS.register_module(force=True)
    class MyEMA(mmengine.hooks.EMAHook):
        pass

    with pytest.raises(UserError, match="MyEMA extends EMAHook, which is a hook for"):
        train(dict(type="MyEMA"))


def test_the_default_hooks_of_an_mmengine_config(train):
    """Copied from there they are refused one by one, by their place."""
    with pytest.raises(UserError, match="IterTimerHook") as error:
        train(default_hooks=dict(timer=dict(type="IterTimerHook")))
    assert error.value.where == "default_hooks.timer"


def test_a_method_that_does_not_take_its_event_s_arguments(train):
    """mmengine's user would learn it at the first validation."""

    @HOOKS.register_module(force=True)
    class Short(Hook):
        def after_val_epoch(self, runner):
            pass

    with pytest.raises(UserError, match=r"Short.after_val_epoch cannot be called") as error:
        train(dict(type="Short"))
    assert error.value.expected == "def after_val_epoch(self, runner, metrics)"


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (dict(type="EarlyStoppingHook", monitor="macro_f1"), "Cannot infer the rule"),
        (dict(type="EarlyStoppingHook"), "needs 'monitor'"),
        (
            dict(type="EarlyStoppingHook", monitor="accuracy/top1", rule="greater"),
            "'accuracy/top1', which is no score",
        ),
        (dict(type="ProfilerHook"), "is to profile a whole epoch"),
        (dict(type="ProfilerHook", by_epoch=False, profile_times=99), "is to profile 99 iterations"),
        (dict(type="EmptyCacheHook", priority="HUGE"), "priority of a hook is 'HUGE'"),
        (dict(type="ParamSchedulerHook"), "2 hooks of the kind ParamSchedulerHook"),
        ("EmptyCacheHook", "no 'type'"),
    ],
)
def test_what_a_working_hook_cannot_be_told(hook, says, train):
    with pytest.raises(UserError, match=re.escape(says)):
        train(hook)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(default_hooks__checkpoint=None), "no CheckpointKeeper, which FinalReport needs"),
        (dict(default_hooks__monitor=None), "no PseudoLabelMonitor, which RunRecord needs"),
        (dict(default_hooks__report=None), "no FinalReport, which RunRecord needs"),
        (dict(default_hooks__param_scheduler=None), "no schedule would ever move"),
        (dict(default_hooks__checkpoint__metric="acc"), "'acc', which is no score of a validation"),
    ],
)
def test_default_hooks_that_do_not_go_together(options, says, train, tmp_path):
    with pytest.raises(UserError, match=says):
        train(**options)
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_run_without_report_and_record(train, tmp_path):
    train(default_hooks__record=None, default_hooks__report=None)
    assert (tmp_path / "run" / "last.pth").is_file()
    assert not (tmp_path / "run" / "record.json").exists()


# --- Those that work -------------------------------------------------------------------------------------------------

STOP = dict(type="EarlyStoppingHook", monitor="macro_f1", rule="greater", min_delta=2.0, patience=2)


class TestEarlyStopping:
    """No validation improves by 2.0: with the first, which is the best so far, and ``patience=2``, the third stops the run."""

    @pytest.mark.parametrize("interval", [None, 100])
    def test_it_stops_and_the_run_is_whole(self, interval, train, tmp_path, read):
        train(STOP, train_cfg__max_iters=40, default_hooks__checkpoint__interval=interval)
        own, run = records.read(tmp_path / "run" / "record.json"), read(tmp_path / "run")
        assert run.checkpoint["iter"] == 6
        assert [m["iter"] for m in run.metrics if m["kind"] == "val"] == [2, 4, 6]
        assert [m["iter"] for m in run.metrics if m["kind"] == "train"] == [3, 6]
        assert (own.status, {r.iter for r in own.results if r.checkpoint == "last"}) == ("finished", {6})
        assert own.cost.images == 6 * 8

    def test_a_resume_of_it_tests_again_and_trains_no_further(self, train, tmp_path, read, differ):
        train(STOP, train_cfg__max_iters=40)
        first = read(tmp_path / "run")
        train(STOP, train_cfg__max_iters=40, resume=True)
        again = read(tmp_path / "run")
        assert (differ(first.checkpoint, again.checkpoint), first.metrics) == ([], again.metrics)

    def test_a_resumed_run_stops_where_the_other_would_have(self, train, tmp_path, read):
        """What the hook counts survives a kill, which mmengine's own forgets."""
        with pytest.raises(UserError, match="is broken"):
            train(STOP, dict(type="FailAt", iteration=5), train_cfg__max_iters=40)
        train(STOP, dict(type="FailAt"), train_cfg__max_iters=40, resume=True)
        assert read(tmp_path / "run").checkpoint["iter"] == 6

    def test_a_hook_that_stops_between_validations(self, train, tmp_path, read):
        @HOOKS.register_module(force=True)
        class StopsAt3(Hook):
            def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
                runner.train_loop.stop_training = batch_idx == 2

        train(dict(type="StopsAt3"), train_cfg__val_interval=100, train_cfg__max_iters=40)
        own = records.read(tmp_path / "run" / "record.json")
        assert (own.status, {r.iter for r in own.results}) == ("finished", {3})

    def test_it_is_part_of_the_protocol(self, train, tmp_path):
        train(STOP)
        [told] = records.read(tmp_path / "run" / "record.json").protocol["hooks"]
        assert (told["type"], told["patience"]) == ("EarlyStoppingHook", 2)


def test_the_profiler_writes_its_trace(train, tmp_path):
    file = tmp_path / "trace.json"
    train(dict(type="ProfilerHook", by_epoch=False, profile_times=2, json_trace_path=str(file)))
    assert json.loads(file.read_text())["traceEvents"]


def test_the_cache_is_emptied_after_the_training(train, monkeypatch):
    calls = []
    monkeypatch.setattr("mmengine.hooks.empty_cache_hook.is_cuda_available", lambda: calls.append(1) or False)
    train(dict(type="EmptyCacheHook"))
    assert len(calls) == 1 + 2 + 3  # training, validations, tests


def test_two_hooks_of_one_class_remember_for_themselves():
    hooks = [EarlyStoppingHook("acc", patience=p) for p in (1, 2)]
    hooks[0].wait_count, hooks[1].wait_count = 5, 7
    states = events.states_of(hooks)
    assert list(states) == ["EarlyStoppingHook", "EarlyStoppingHook 2"]
    others = [EarlyStoppingHook("acc"), EarlyStoppingHook("acc")]
    events.restore(others, states)
    assert [hook.wait_count for hook in others] == [5, 7]


# --- Evaluators ------------------------------------------------------------------------------------------------------


class Own:
    """A metric of one's own: the share of images whose largest probability is above a half."""

    name = "sure"

    def __init__(self, classes):
        self.reset()

    def reset(self):
        self.sure, self.count = torch.zeros(()), 0

    def update(self, logits, labels):
        self.sure = self.sure + (logits.max(dim=1).values > 0.5).sum()
        self.count += len(labels)

    def compute(self):
        return {self.name: self.sure / self.count, "per_class": torch.ones(4)}


@METRICS.register_module(force=True)
class Sure(Own):
    pass


@METRICS.register_module(force=True)
class NamedLikeOurs(Own):
    name = "macro_f1"


@METRICS.register_module(force=True)
class Breaks(Own):
    def compute(self):
        return {"x": 1 / 0}


@METRICS.register_module(force=True)
class GivesText(Own):
    def compute(self):
        return {"x": object()}


BOTH = [dict(type="ExpressionMetrics"), dict(type="Sure")]


class OfMMEngine(mmengine.evaluator.BaseMetric):
    """As somebody has it from another project: no ``classes``, no ``update``; the mean probability of the true class."""

    default_prefix = "own"

    def process(self, data_batch, data_samples):
        self.results += [s["pred_score"][s["gt_label"]].item() for s in data_samples]

    def compute_metrics(self, results):
        return {"trust": sum(results) / len(results), "images": len(results)}


METRICS.register_module(module=OfMMEngine, force=True)
FOREIGN = [
    dict(type="ExpressionMetrics"),
    dict(type="OfMMEngine"),
    dict(type="mmpretrain.Accuracy", topk=(1, 2)),
]


def test_a_metric_for_mmengines_evaluator_is_in_table_record_and_report(train, tmp_path, read):
    """A `BaseMetric` needs no ``classes``; one of mmpretrain's, too. The scores are those that ours gives."""
    folder = tmp_path / "run"
    train(val_evaluator=FOREIGN, test_evaluator=FOREIGN)
    [test] = [m for m in read(folder).metrics if m["kind"] == "test"]
    own = records.read(folder / "record.json")
    for row, result in zip(test["rows"], own.results, strict=True):
        assert result.metrics.keys() == {"own_trust", "own_images", "accuracy_top1", "accuracy_top2"}
        assert result.metrics["own_images"] == row["count"]
        assert result.metrics["accuracy_top1"] == pytest.approx(100 * row["accuracy"], abs=1e-3)
        assert 0 < result.metrics["own_trust"] < 1
    table = (folder / "results.md").read_text()
    assert "| own_trust" in table
    written = write_report([folder], tmp_path / "report", Options(metric="own_trust"))
    assert any("own_trust" in page.read_text() for page in written if page.suffix == ".md")


def test_metrics_get_classes_only_where_they_take_them():
    found = build_metrics(FOREIGN[:2], ("a", "b"), "val_evaluator")
    assert found[0].classes == ("a", "b")
    assert found[1].wrapped.dataset_meta == {"classes": ("a", "b")}
    found[1].update(torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]]), torch.tensor([0, 0, -1]))
    assert found[1].compute() == {"own_trust": pytest.approx(0.6), "own_images": 2}
    found[1].reset()
    found[1].update(torch.tensor([[0.9, 0.1]]), torch.tensor([-1]))
    with pytest.raises(ZeroDivisionError):
        found[1].compute()
    with pytest.raises(UserError, match="there is no metric named 'Accuracy'") as error:
        build_metrics(dict(type="Accuracy"), ("a", "b"), "val_evaluator")
    assert error.value.fix == "mmpretrain has one: type='mmpretrain.Accuracy'"
    with pytest.raises(UserError, match="there is no metric named 'Acuracy'") as error:
        build_metrics(dict(type="Acuracy"), ("a", "b"), "val_evaluator")
    assert "ferbench list" in error.value.fix
    with pytest.raises(UserError, match="OfMMEngine has no parameter 'clases'"):
        build_metrics(dict(type="OfMMEngine", clases=3), ("a", "b"), "val_evaluator")


def test_a_metric_of_ones_own_is_in_table_log_and_record_and_chooses(train, tmp_path, read):
    """It stands beside macro-F1 under its own name; lists and tensors of it become plain numbers."""
    folder = tmp_path / "run"
    train(val_evaluator=BOTH, test_evaluator=BOTH, default_hooks__checkpoint__metric="sure")
    [test] = [m for m in read(folder).metrics if m["kind"] == "test"]
    own = records.read(folder / "record.json")
    for row, result in zip(test["rows"], own.results, strict=True):
        assert result.metrics == {"sure": row["sure"]}
        assert row["per_class"] == [1.0] * 4
    line = next(
        line for line in (folder / "results.md").read_text().splitlines() if line.startswith("| sure")
    )
    assert [c.strip() for c in line.split("|")[2:-1]] == [f"{r['sure']:.4g}" for r in test["rows"]]
    assert "further scores" in (folder / "results.md").read_text()
    vals = [m for m in read(folder).metrics if m["kind"] == "val"]
    best = {w: max(m[w]["sure"] for m in vals) for w in ("raw", "ema")}
    chosen = {r["weights"]: r["iter"] for r in test["rows"] if r["checkpoint"] == "best"}
    assert chosen == {w: next(m["iter"] for m in vals if m[w]["sure"] == best[w]) for w in best}


@pytest.mark.parametrize(
    ("part", "evaluator", "says"),
    [
        ("val", dict(type="Sure"), f"gives no {', '.join(SCORES)}"),
        ("test", dict(type="Sure"), f"gives no {', '.join(SCORES)}"),
        ("val", [dict(type="ExpressionMetrics"), dict(type="NamedLikeOurs")], "NamedLikeOurs calls a score 'macro_f1'"),
        ("val", [dict(type="NamedLikeOurs"), dict(type="ExpressionMetrics")], "calls a score 'macro_f1'"),
        ("test", [dict(type="ExpressionMetrics"), dict(type="Breaks")], "Breaks fails with one image of each class: Zero"),
        ("val", [dict(type="ExpressionMetrics"), dict(type="GivesText")], "GivesText: x is a object"),
        ("test", [], "no 'test_evaluator'"),
        ("val", "ExpressionMetrics", "val_evaluator is 'ExpressionMetrics'"),
        ("test", dict(type="mmengine.DumpResults", out_file_path="x.pkl"), "DumpResults"),
    ],
)  # fmt: skip
def test_an_evaluator_that_a_run_could_not_end_with(part, evaluator, says, train, tmp_path):
    """Found before the training, not after it."""
    with pytest.raises(UserError, match=re.escape(says)):
        train(**{f"{part}_evaluator": evaluator})
    assert not list((tmp_path / "run").glob("*.pth"))
