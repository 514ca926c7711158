"""A run that is killed and resumed is the run that was not, bit for bit."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
import torch

from ferbench.data.datasets.folder import ImageFolder
from ferbench.data.loader import TrainBatches
from ferbench.engine import api
from ferbench.engine.loops import EvaluationLoop, SemiTrainLoop
from ferbench.errors import Stopped, UserError
from ferbench.models.ssl import SSLModel

FLEXMATCH = {
    "model.algorithm._delete_": True, "model.algorithm.type": "FlexMatch", "model.algorithm.threshold": 0.6,
    "model.algorithm.warmup": False,
}  # fmt: skip
NOISY_STUDENT = {
    "model.algorithm._delete_": True, "model.algorithm.type": "NoisyStudent", "model.algorithm.generations": 2,
    "model.algorithm.threshold": 0.35,
}  # fmt: skip

MICRO_BATCHES = {
    "model.algorithm._delete_": True, "model.algorithm.type": "MixMatch", "train_cfg.micro_batches": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted runs, each made once."""
    return tmp_path_factory.mktemp("whole"), {}


@pytest.fixture
def uninterrupted(whole, make, read):
    def get(name, options=None):
        folder, runs = whole
        if name not in runs:
            api.train(make(options), folder / name)
            runs[name] = read(folder / name)
        return runs[name]

    return get


def assert_same_run(differ, a, b):
    assert differ(a.checkpoint["model"], b.checkpoint["model"]) == []
    assert differ(a.checkpoint["optimizer"], b.checkpoint["optimizer"]) == []
    assert differ({k: a.checkpoint[k] for k in ("iter", "schedules", "hooks")},
                  {k: b.checkpoint[k] for k in ("iter", "schedules", "hooks")}) == []  # fmt: skip
    assert a.metrics == b.metrics


def test_the_run_is_one_worth_resuming(uninterrupted):
    """Else the tests below would pass on state that never changes."""
    dtm, flexmatch = uninterrupted("dtm"), uninterrupted("flexmatch", FLEXMATCH)
    lines = [m for m in dtm.metrics if m["kind"] == "train"]
    assert len({tuple(m["threshold"]) for m in lines}) == len(lines) == 4
    assert any(0 < m["utilization_mean"] < 1 for m in lines)
    assert dtm.checkpoint["optimizer"]["state"][0]["momentum_buffer"].abs().max() > 0
    assert dtm.checkpoint["model"]["algorithm.threshold.updates"] == 6
    recorded = flexmatch.checkpoint["model"]["algorithm.threshold.counts"][1:]
    assert (recorded > 0).sum() >= 2
    assert any(m["utilization_mean"] < 0.9 for m in flexmatch.metrics if m["kind"] == "train")
    network, ema = (dtm.checkpoint["model"][f"{n}.head.fc.weight"] for n in ("network", "ema_network"))
    assert not torch.equal(network, ema)


def test_the_same_run_twice(uninterrupted, make, read, differ, tmp_path):
    """Two runs of one process share nothing, not even within one second."""
    api.train(make(), tmp_path / "again")
    assert_same_run(differ, read(tmp_path / "again"), uninterrupted("dtm"))
    config, log = sorted((tmp_path / "again").glob("*.py")), sorted((tmp_path / "again").glob("*/*.log"))
    assert len(config) == len(log) == 1


@pytest.mark.parametrize(("name", "options", "moment"), [
    ("dtm", {}, "step"), ("dtm", {}, "checkpoint"), ("flexmatch", FLEXMATCH, "step"),
])  # fmt: skip
def test_killed_and_resumed(name, options, moment, uninterrupted, make, command, read, differ, tmp_path):
    # The last checkpoint before is that of iteration 4; at 8, validation is done and the checkpoint is not written yet.
    k = 8 if moment == "checkpoint" else random.Random(f"{name} {moment}").randrange(5, 12)
    print(f"killed at iteration {k}")
    killer = {"custom_hooks.0.iteration": k, "custom_hooks.0.moment": moment}
    done = command("--work-dir", tmp_path, options={**options, **killer})
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = read(tmp_path)
    assert before.checkpoint["iter"] == (4 if k < 8 or moment == "checkpoint" else 8)
    if moment == "checkpoint":
        assert before.metrics[-1]["kind"] == "val"  # a validation that will be done again
        assert before.metrics[-1]["iter"] == 8

    api.train(make(options), tmp_path, resume=True)
    assert_same_run(differ, read(tmp_path), uninterrupted(name, options))
    assert list(tmp_path.glob(".*.tmp")) == []


@pytest.mark.parametrize(("killed", "saved", "labelings"), [(5, 4, 0), (10, 8, 1)])
def test_killed_within_a_generation(
    killed, saved, labelings, uninterrupted, make, command, read, differ, tmp_path
):
    """Noisy Student labels after iteration 6, and starts anew: its labels and its initial weights must be the same."""
    done = command("--work-dir", tmp_path, options={**NOISY_STUDENT, "custom_hooks.0.iteration": killed})
    assert done.returncode == -signal.SIGKILL, done.stderr
    checkpoint = read(tmp_path).checkpoint
    assert (checkpoint["iter"], checkpoint["model"]["algorithm.labels.made"]) == (saved, labelings)
    api.train(make(NOISY_STUDENT), tmp_path, resume=True)
    whole = uninterrupted("noisystudent", NOISY_STUDENT)
    assert_same_run(differ, read(tmp_path), whole)
    assert 0 < whole.checkpoint["model"]["algorithm.labels.weight"].mean() < 1
    assert len(list(tmp_path.glob("pseudo_labels_*.npz"))) == 1


@pytest.fixture
def signal_at(monkeypatch):
    """Sends this process a signal at a moment of an iteration, once: ``signal_at("pass", 6, signal.SIGTERM)``.

    ``begin``: before the first iteration; ``data``: while the batch of the next one is made; ``step``: after the update;
    ``pass``, ``validation``, ``test``: when their first batch is predicted.
    """
    wanted: list = []
    now = {"iteration": 0, "moment": ""}

    def look(moment, iteration):
        if wanted and (moment, iteration) == wanted[0][:2]:
            signal.raise_signal(wanted.pop(0)[2])

    def around(kind, name, moment_of):
        original = getattr(kind, name)

        def replaced(self, *args, **kwargs):
            now["moment"], now["iteration"] = moment_of(self)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(kind, name, replaced)

    def predict(self, *args, original=SSLModel.predict, **kwargs):
        look(now["moment"], now["iteration"])
        return original(self, *args, **kwargs)

    def make_batch(self, keys, original=TrainBatches._make):
        look("data", now["iteration"])
        return original(self, keys)

    def step(self, batch, original=SemiTrainLoop._step):
        result = original(self, batch)
        look("step", self._iter + 1)
        return result

    def run(self, original=SemiTrainLoop.run):
        look("begin", self._iter)
        return original(self)

    around(SemiTrainLoop, "dataset_pass", lambda loop: ("pass", loop._iter))
    around(SemiTrainLoop, "_next", lambda loop: ("data", loop._iter))
    around(EvaluationLoop, "run",
           lambda loop: ({"val": "validation", "test": "test"}[loop.part], loop.runner.iter))  # fmt: skip
    monkeypatch.setattr(SSLModel, "predict", predict)
    monkeypatch.setattr(TrainBatches, "_make", make_batch)
    monkeypatch.setattr(SemiTrainLoop, "_step", step)
    monkeypatch.setattr(SemiTrainLoop, "run", run)
    return lambda *moment: wanted.append(moment)


@pytest.mark.parametrize(("name", "options", "moments"), [
    ("dtm", {}, [("begin", 0), ("data", 3), ("step", 5), ("step", 6), ("pass", 6), ("validation", 8), ("test", 12)]),
    ("flexmatch", FLEXMATCH, [("step", 4), ("validation", 4), ("step", 7), ("validation", 12)]),
    ("noisystudent", NOISY_STUDENT, [("step", 6), ("pass", 6), ("step", 11)]),
])  # fmt: skip
def test_stopped_by_signals_and_resumed(
    name, options, moments, uninterrupted, signal_at, make, read, differ, tmp_path
):
    """Whatever it is doing, a training loses nothing: it stops after the iteration it is in, again and again."""
    whole = uninterrupted(name, options)
    signals = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]
    for i, (moment, iteration) in enumerate(moments):
        number = signals[i % len(signals)]
        before = signal.signal(number, signal.SIG_DFL)  # ignored where the tests themselves are run by nohup
        try:
            signal_at(moment, iteration, number)
            with pytest.raises(Stopped, match=rf"stopped by {number.name}"):
                api.train(make(options), tmp_path, resume=True)
        finally:
            signal.signal(number, before)
        checkpoint = torch.load(tmp_path / "last.pth", weights_only=True)
        assert checkpoint["iter"] == iteration
        due = (moment, iteration) in (("step", 6), ("step", 4)) or moment in ("pass", "validation")
        assert checkpoint["pending"] is due
        assert json.loads((tmp_path / "record.json").read_text())["status"] == "running"
    api.train(make(options), tmp_path, resume=True)
    assert_same_run(differ, read(tmp_path), whole)
    assert list(tmp_path.glob(".*.tmp")) == []


@pytest.fixture
def stopped(make, tmp_path):
    """A run folder that stands at iteration 4 of 12."""

    def stop(folder: Path = tmp_path / "stopped", options=None):
        with pytest.raises(UserError, match="is broken"):
            api.train(make({**(options or {}), "custom_hooks.1.iteration": 6}), folder)
        return folder

    return stop


def test_nothing_before_the_resume_point_is_read(stopped, make, monkeypatch):
    folder = stopped()
    reads = []
    original = ImageFolder.read_bytes
    monkeypatch.setattr(
        ImageFolder, "read_bytes", lambda self, i: reads.append(self.name) or original(self, i)
    )
    runner = api.train(make(), folder, resume=True)
    faces, train, test = (reads.count(name) for name in ("faces", "train", "test"))
    data = runner.data
    own = len(data.split.parts["unlabeled"]) + 61
    assert len(data.datasets["unlabeled"]) == own
    passes, validations = 4, 2  # after 6, 8, 10, 12; after 8, 12
    expected = 8 * (8 + 16) + passes * 40 + validations * len(data.datasets["val"])  # 8 iterations are left
    content = (122 + 61, 37)  # the protocol sees what each image holds
    opened = 1  # of each data set, to see that it can be read
    assert faces + train == expected + content[0] + 2 * opened
    assert test == 3 * 37 + content[1] + opened  # last; best raw; best EMA


def test_the_number_of_workers_does_not_matter(stopped, uninterrupted, make, read, differ):
    folder = stopped()
    options = {
        "train_dataloader.num_workers": 1,
        "unlabeled_dataloader.num_workers": 2,
        "val_dataloader.num_workers": 1,
    }
    api.train(make(options), folder, resume=True)
    assert_same_run(differ, read(folder), uninterrupted("dtm"))


def test_micro_batches_go_on_with_the_draws_that_come_next(stopped, uninterrupted, make, read, differ):
    """Each part of a step draws mixtures of its own."""
    folder = stopped(options=MICRO_BATCHES)
    api.train(make(MICRO_BATCHES), folder, resume=True)
    assert_same_run(differ, read(folder), uninterrupted("micro-batches", MICRO_BATCHES))


def test_resume_into_another_folder(stopped, uninterrupted, make, read, differ, tmp_path):
    """The best checkpoint so far and the log come along."""
    source = stopped()
    before = {f.name: f.read_bytes() for f in source.iterdir() if f.is_file()}
    api.train(make(), tmp_path / "copy", resume=str(source / "last.pth"))
    assert_same_run(differ, read(tmp_path / "copy"), uninterrupted("dtm"))
    assert {f.name: f.read_bytes() for f in source.iterdir() if f.is_file()} == before


def test_resume_of_a_finished_run_only_reports(uninterrupted, make, read, differ, tmp_path, monkeypatch):
    api.train(make(), tmp_path)
    monkeypatch.setattr("ferbench.engine.loops.SemiTrainLoop.advance", None)
    api.train(make(), tmp_path, resume=True)
    assert_same_run(differ, read(tmp_path), uninterrupted("dtm"))


def test_resume_of_nothing_starts(make, read, uninterrupted, differ, tmp_path):
    api.train(make(), tmp_path, resume=True)
    assert_same_run(differ, read(tmp_path), uninterrupted("dtm"))
