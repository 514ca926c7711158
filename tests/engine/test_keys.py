"""Keys of a config: each has an effect, or is refused with what to write instead; the lists of them follow the code."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

import ferbench
from ferbench.config import load_config
from ferbench.core import keys
from ferbench.core.instead import INSTEAD, INSTEAD_WITHIN
from ferbench.core.keys import IMPLIED_TYPE, TOP_LEVEL, section_keys
from ferbench.core.parts import check, kind_of, parameters
from ferbench.data.views import Views
from ferbench.engine import api
from ferbench.engine.runner import IDENTITY, SSLRunner
from ferbench.errors import UserError
from ferbench.registry import HOOKS, LOOPS, MODELS, OPTIM_WRAPPERS

SOURCE = "\n".join(f.read_text() for f in sorted(Path(ferbench.__file__).parent.rglob("*.py")))
QUICK = {
    "model.algorithm._delete_": True, "model.algorithm.type": "Supervised", "train_cfg.max_iters": 2,
    "train_cfg.val_interval": 2, "unlabeled_dataloader": None,
}  # fmt: skip


def read_from(names: str, source: str = SOURCE) -> set[str]:
    """Keys that code reads from variables or attributes of some names: ``x.get("key")``, ``x["key"]``."""
    return set(re.findall(rf"""\b(?:{names})["']?\)?(?: or \{{\}}\))?(?:\.get\(|\[)["'](\w+)["']""", source))


class TestLists:
    """No list by hand can drift from the code that reads the keys."""

    def test_top_level(self):
        """What mmengine's runner and our code take from a config."""
        of_mmengine = read_from("cfg", inspect.getsource(Runner.from_cfg)) - {"data_preprocessor"}
        of_mmengine |= read_from(r"self\.cfg", inspect.getsource(Runner))
        ours = read_from("cfg") | set(re.findall(r"\bcfg\.(\w+)\b(?!\()", SOURCE)) | set(api.REQUIRED)
        attributes = {"filename", "text", "optimizer", "_imported_names", "get"}
        read = (of_mmengine | ours) - attributes
        assert read >= TOP_LEVEL
        assert not TOP_LEVEL & INSTEAD.keys()
        assert of_mmengine - TOP_LEVEL <= INSTEAD.keys() | {"efficient_conv_bn_eval", "log_processor"}
        assert set(api.REQUIRED) | IMPLIED_TYPE <= TOP_LEVEL

    def test_dataloaders(self):
        known = set().union(*(section_keys()[s] for s in section_keys() if s.endswith("_dataloader")))
        direct = set(re.findall(r"\w+_dataloader\.(\w+)\b(?!\()", SOURCE)) - {
            "get",
            "dataset",
            "max_unreadable",
        }
        read = read_from(r"\w*dataloader|loader|unlabeled") | direct
        for names in re.findall(
            r'for key in \(("\w+"(?:, "\w+")+)\)', SOURCE
        ):  # read in a loop over their names
            read |= set(re.findall(r"\w+", names)) & known
        assert read - {"hidden_labels", "index", "images"} == known  # of a batch

    def test_environment(self):
        assert section_keys()["env_cfg"] == read_from("env_cfg", inspect.getsource(Runner.setup_env))

    def test_imports(self):
        assert section_keys()["custom_imports"] == read_from("imports") | {"imports"}

    def test_views(self):
        assert section_keys()["views"] == parameters(Views)[0]

    def test_what_a_resumed_run_compares_exists(self):
        for dotted in IDENTITY:
            section, _, key = dotted.partition(".")
            assert section in TOP_LEVEL
            assert not key or key in section_keys()[section]


# For each key of the top level a value that nobody can mean.
WRONG = {
    "classes": (), "split": dict(type="Nowhere"), "views": dict(size="x"), "train_dataloader": dict(batch_size=0),
    "unlabeled_dataloader": dict(mu=0), "val_dataloader": dict(batch_size=0), "test_dataloader": dict(batch_size=0),
    "model": dict(precision="fp7"), "train_cfg": dict(max_iters=0), "val_cfg": dict(part="test"),
    "test_cfg": dict(part="val"), "optim_wrapper": dict(type="OptimWrapper"), "param_scheduler": dict(type="StepLR"),
    "val_evaluator": dict(type="Nothing"), "test_evaluator": dict(type="Nothing"), "default_hooks": dict(monitor=3),
    "custom_hooks": [3], "custom_imports": dict(imports="no_such_module_anywhere"), "env_cfg": dict(cudnn_benchmark="x"),
    "visualizer": dict(vis_backends=[dict(type="Nothing")]), "log_level": "LOUD", "randomness": dict(seed=-1),
    "default_scope": "mmpretrain", "work_dir": 3, "launcher": "mpi", "resume": "no.pth", "load_from": "no.pth",
    "experiment_name": 3, "model_wrapper_cfg": dict(type="DataParallel"),
}  # fmt: skip


@pytest.mark.parametrize("key", sorted(TOP_LEVEL))
def test_every_key_is_read(key, make, config_file, images, tmp_path):
    """A wrong value of it is one message before the run begins, so no key is accepted and ignored."""
    value = WRONG[key]
    given = (
        {f"{key}.{k}": v for k, v in value.items()}
        if isinstance(value, dict) and "type" not in value
        else {key: value}
    )
    if key in ("optim_wrapper", "train_cfg"):
        given = {f"{key}.{k}": v for k, v in value.items()}
    options = QUICK | given if key != "unlabeled_dataloader" else given
    with pytest.raises(UserError):
        api.train(make(options), None if key == "work_dir" else tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"randomness.diff_rank_seed": True}, "each process draws its own"),
        ({"randomness.seed": "one"}, "randomness.seed is 'one'"),
        ({"randomness.seed": 2**32}, "randomness.seed is 4294967296"),
        ({"env_cfg.mp_cfg": dict(mp_start_method="spawn")}, "mp_start_method"),
        ({"train_cfg.type": "IterBasedTrainLoop"}, "IterBasedTrainLoop cannot be used here"),
        ({"train_cfg.by_epoch": False}, "no parameter 'by_epoch'"),
        ({"val_cfg.type": "ValLoop"}, "ValLoop cannot be used here"),
        ({"val_cfg.smoothing_window": 5}, "validation scores are not smoothed"),
        ({"test_cfg.type": "TestLoop"}, "TestLoop cannot be used here"),
        ({"optim_wrapper.type": "AmpOptimWrapper"}, "AmpOptimWrapper cannot be used here"),
        ({"optim_wrapper.type": "OptimWrapper"}, "OptimWrapper cannot be used here"),
        ({"optim_wrapper.accumulative_counts": 4}, "no parameter 'accumulative_counts'"),
        ({"optim_wrapper.optimizer.lr": -1.0}, "SGD cannot be built: Invalid learning rate"),
        ({"optim_wrapper.optimizer.lr": "high"}, "SGD cannot be built"),
        ({"model.type": "LinearHead"}, "LinearHead cannot be used here"),
        ({"visualizer.nam": 1}, "no parameter 'nam'"),
        ({"custom_hooks": {"type": "EmptyCacheHook"}}, "custom_hooks is"),
    ],
)  # fmt: skip
def test_values_without_effect_are_refused(options, says, make, tmp_path):
    """Each was accepted, and changed nothing or ended in a traceback."""
    with pytest.raises(UserError, match=re.escape(says)):
        api.train(make(QUICK | options), tmp_path / "run")


@pytest.mark.parametrize("key", sorted(INSTEAD))
def test_what_to_write_instead_is_said_and_works(key, make, config_file, images, tmp_path, monkeypatch):
    """In the config and on the command line; the text of the message is itself a config that can be built."""
    monkeypatch.setenv("FERBENCH_DATA", str(images))
    own = tmp_path / "own.py"
    for text in (f"{key} = 7\n", INSTEAD[key]):
        own.write_text(f"_base_ = {str(config_file)!r}\n{text}\n")
        if text != INSTEAD[key]:
            with pytest.raises(UserError, match=f"unknown key {key!r}") as error:
                load_config(own)
            assert error.value.fix == f"write in the config: {INSTEAD[key]}"
    with pytest.raises(UserError, match=f"no key {key!r}") as error:
        make({key: 7})
    assert INSTEAD[key] in error.value.fix
    cfg = api.complete(load_config(own), tmp_path / "run")
    name, value = next(iter(ast_assignment(INSTEAD[key]).items()))
    assert contains(cfg[name] if name != "resume" else True, value)


_BUILT = {
    "train_cfg": (LOOPS, "SemiTrainLoop"), "val_cfg": (LOOPS, "EvaluationLoop"), "test_cfg": (LOOPS, "EvaluationLoop"),
    "default_hooks.checkpoint": (HOOKS, "CheckpointKeeper"), "default_hooks.param_scheduler": (HOOKS, "ParamSchedulerHook"),
    "optim_wrapper": (OPTIM_WRAPPERS, "SSLOptimWrapper"), "model": (MODELS, "SSLModel"),
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(INSTEAD_WITHIN))
def test_keys_that_mmengine_has_in_a_section(path, make, config_file, images, tmp_path):
    """None of them is taken for a misspelt key of ours: the message says what to write, and that is right."""
    section, _, key = path.rpartition(".")
    text = INSTEAD_WITHIN[path]
    own = tmp_path / "own.py"
    own.write_text(f"_base_ = {str(config_file)!r}\n{section.partition('.')[0]} = dict({key}=7)\n")

    def use():
        if section in _BUILT:
            registry, name = _BUILT[section]
            check(registry, {"type": name, key: 7}, section)
        elif section == "default_hooks":
            kind_of(HOOKS, make({section: {key: {"interval": 7}}}).default_hooks[key], path)
        else:
            load_config(own, data=images)

    with pytest.raises(UserError) as error:
        use()
    assert text in error.value.fix
    assert "did you mean" not in (error.value.expected or "") or section.endswith("_dataloader")
    if not text.startswith("leave it out"):
        own.write_text(f"_base_ = {str(config_file)!r}\n{text}\n")
        cfg = api.complete(load_config(own, data=images), tmp_path / "run")
        [(name, value)] = ast_assignment(text).items()
        assert contains(cfg[name], value)


def test_keys_that_mmengine_has_as_options(make):
    for path, says in (
        ("default_hooks.logger.interval", "monitor=dict(interval=50)"), ("train_dataloader.pin_memory", "leave it out"),
        ("default_hooks.timer.x", "monitor"),
    ):  # fmt: skip
        with pytest.raises(UserError, match="there is no key") as error:
            make({path: 10})
        assert says in error.value.fix


def ast_assignment(text: str) -> dict:
    [node] = ast.parse(text).body
    found: dict = {}
    exec(compile(ast.Module([node], []), "x", "exec"), {}, found)
    return found


def contains(whole, part) -> bool:
    if isinstance(part, dict):
        return all(contains(whole[k], v) for k, v in part.items())
    return whole == part


def test_helper_variables_still_begin_with_an_underscore(config_file, images, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(f"_base_ = {str(config_file)!r}\nmy_helper = 7\n")
    with pytest.raises(UserError, match="begins with _"):
        load_config(own, data=images)


def test_the_test_loop_reads_the_test_set_whatever_its_section_says(make, tmp_path):
    """``test_cfg`` without ``part`` once scored the validation set."""
    cfg = make(QUICK)
    cfg.test_cfg, cfg.val_cfg = dict(smoothing_window=None), dict(smoothing_window=None)
    runner = api.train(cfg, tmp_path / "run")
    assert (runner.val_loop.part, runner.test_loop.part) == ("val", "test")


def test_medium_views_and_working_size_can_be_set(make, tmp_path):
    crop = [dict(type="RandomCrop", ratio=0.75)]
    options = {"views.working_size": 32, **{f"views.{kind}": crop for kind in ("weak", "medium", "strong")}}
    views = api.train(make(QUICK | options), tmp_path / "run").train_loop.views
    assert (views.working_size, views.as_dict()["medium"][0]["type"]) == (32, "RandomCrop")


class TestResumeInTheConfig:
    """``resume`` and ``load_from``, as mmengine's users know them."""

    @pytest.fixture
    def folder(self, make, tmp_path):
        api.train(make(QUICK | {"train_cfg.max_iters": 4}), tmp_path / "run")
        return tmp_path / "run"

    def test_resume_goes_on_like_the_option(self, folder, make, read):
        before = read(folder)
        api.train(make(QUICK | {"train_cfg.max_iters": 4, "resume": True}), folder)
        assert read(folder).metrics == before.metrics
        assert make({"resume": True}).resume is True

    def test_without_it_the_folder_is_not_touched(self, folder, make):
        for value in (False, None):
            with pytest.raises(UserError, match="already holds a run"):
                api.train(make(QUICK | {"train_cfg.max_iters": 4, "resume": value}), folder)

    def test_the_command_s_overwrite_wins(self, folder, make, read):
        api.train(make(QUICK | {"resume": True}), folder, overwrite=True)
        assert read(folder).checkpoint["iter"] == 2

    @pytest.mark.parametrize("where", ["load_from", "resume"])
    def test_resume_from_a_checkpoint_elsewhere(self, where, folder, make, read, tmp_path):
        more = {"load_from": str(folder / "last.pth"), "resume": True}
        more = more if where == "load_from" else {"resume": str(folder / "last.pth")}
        api.train(make(QUICK | {"train_cfg.max_iters": 4} | more), tmp_path / "other")
        assert read(tmp_path / "other").metrics == read(folder).metrics

    def test_resume_where_there_is_nothing_begins(self, make, read, tmp_path):
        api.train(make(QUICK | {"resume": True}), tmp_path / "new")
        assert read(tmp_path / "new").checkpoint["iter"] == 2


class TestLoadFrom:
    """The weights of a checkpoint with a fresh optimizer, schedule and iteration."""

    @pytest.fixture
    def source(self, make, tmp_path):
        api.train(make(QUICK | {"train_cfg.max_iters": 4}), tmp_path / "source")
        return tmp_path / "source" / "last.pth"

    def test_it_starts_with_its_averaged_weights(self, source, make, tmp_path, monkeypatch):
        begun = {}
        original = SSLRunner.train

        def train(runner):
            begun.update({k: v.clone() for k, v in runner.bare_model.state_dict().items()})
            begun["state"] = dict(runner.optim_wrapper.optimizer.state)
            begun["iter"] = runner.iter
            return original(runner)

        monkeypatch.setattr(SSLRunner, "train", train)
        api.train(make(QUICK | {"load_from": str(source)}), tmp_path / "new")
        theirs = torch.load(source, weights_only=True)["model"]
        for name in [k for k in theirs if k.startswith("ema_network.")]:
            assert torch.equal(begun[name], theirs[name])
            assert torch.equal(begun[name.removeprefix("ema_")], theirs[name])
        assert (begun["state"], begun["iter"]) == ({}, 0)

    def test_it_is_another_protocol(self, source, make, tmp_path):
        from ferbench import records

        api.train(make(QUICK | {"load_from": str(source)}), tmp_path / "new")
        api.train(make(QUICK), tmp_path / "plain")
        one, two = (records.read(tmp_path / n / "record.json") for n in ("new", "plain"))
        assert one.protocol_hash != two.protocol_hash
        assert one.protocol["model"]["initial_weights"]["sha256"]

    def test_such_a_run_is_resumed_like_any(self, source, make, read, tmp_path, differ):
        more = QUICK | {"load_from": str(source), "train_cfg.max_iters": 6}
        api.train(make(more), tmp_path / "straight")
        with pytest.raises(UserError, match="is broken"):
            api.train(make({**more, "custom_hooks.1.iteration": 5}), tmp_path / "killed")
        api.train(make(more), tmp_path / "killed", resume=True)
        straight, killed = read(tmp_path / "straight"), read(tmp_path / "killed")
        assert differ(straight.checkpoint["model"], killed.checkpoint["model"]) == []
        assert straight.metrics == killed.metrics


class TestHints:
    """What a refused resume advises, followed."""

    def test_the_saved_config_goes_on(self, make, tmp_path, images, read):
        folder = tmp_path / "run"
        api.train(make(QUICK), folder)
        with pytest.raises(UserError, match="use the config saved in the run's folder"):
            api.train(make(QUICK | {"optim_wrapper.optimizer.lr": 0.1}), folder, resume=True)
        before = read(folder).metrics
        api.train(load_config(folder / "tiny.py", data=images), folder, resume=True)
        assert read(folder).metrics == before

    def test_another_number_of_processes(self, make, tmp_path, monkeypatch, read):
        """Batch-norm of each process sees its share of a batch; the saved config says nothing of their number."""
        folder, options = tmp_path / "run", QUICK | {"model.backbone.type": "TinyBatchNorm"}
        with monkeypatch.context() as patch:
            patch.setattr("ferbench.engine.protocol.world_size", lambda: 2)
            api.train(make(options), folder)
        with pytest.raises(UserError, match="batch_norm_processes = 2 instead of 1") as error:
            api.train(make(options), folder, resume=True)
        assert error.value.fix.startswith(
            "start it with 2 processes, as it began (torchrun --nproc_per_node 2)"
        )
        assert "saved" not in error.value.fix
        monkeypatch.setattr("ferbench.engine.protocol.world_size", lambda: 2)  # the advice, followed
        api.train(make(options), folder, resume=True)


def test_the_table_of_wrong_values_is_whole():
    assert set(WRONG) == set(TOP_LEVEL)
    assert keys.LAUNCHERS == ("none", "pytorch", "slurm")
