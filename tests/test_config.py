"""Finding, reading, checking and changing configs; building parts with errors that name the mistake."""

import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.registry import MODELS as MM_MODELS
from torch import nn

from ferbench.config import build, config_root, find_config, load_config, parse_options
from ferbench.core import config_files, plugins
from ferbench.errors import UserError
from ferbench.registry import Registry

BASE = """
_size = 48
classes = ("Neutral", "Happiness")
model = dict(algorithm=dict(type="DTM", floor=0.8), preprocess=dict(size=_size))
train_dataloader = dict(batch_size=8, dataset=dict(type="Folder", root="{{$FERBENCH_DATA:data}}/fer2013"))
train_cfg = dict(max_iters=10)
custom_hooks = [dict(type="A"), dict(type="B", every=2)]
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("FERBENCH_DATA", "FERBENCH_CONFIGS"):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
    monkeypatch.delenv("FERBENCH_DATA")
    monkeypatch.setattr(plugins, "_seen", {})
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def write(tmp_path):
    def put(text, name="mine.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return put


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of shipped configs with one config in it."""
    root = tmp_path / "shipped"
    (root / "dtm").mkdir(parents=True)
    (root / "dtm" / "tiny_synthetic.py").write_text(BASE)
    (root / "_base_").mkdir()
    (root / "_base_" / "tiny.py").write_text("")
    monkeypatch.setattr(config_files, "config_root", lambda: root)
    return root


class TestFind:
    @pytest.mark.parametrize(
        "name", ["dtm/tiny_synthetic.py", "dtm/tiny_synthetic", "configs/dtm/tiny_synthetic.py"]
    )
    def test_a_shipped_config_by_name_from_anywhere(self, shipped, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        assert find_config(name) == shipped / "dtm" / "tiny_synthetic.py"

    def test_an_existing_path_wins(self, shipped, tmp_path, monkeypatch, write):
        monkeypatch.chdir(tmp_path)
        own = write(BASE, "dtm/tiny_synthetic.py")
        assert find_config("dtm/tiny_synthetic.py") == own

    def test_a_mistyped_name_lists_the_nearest_but_no_base(self, shipped):
        with pytest.raises(UserError) as caught:
            find_config("dtm/tiny_syntetic.py")
        assert "did you mean 'dtm/tiny_synthetic.py'" in str(caught.value)
        assert "_base_" not in str(caught.value)

    def test_the_checkout_has_its_configs_at_the_top(self, repo):
        assert config_root() == repo / "configs"


class TestRead:
    def test_data_root_default_variable_and_option(self, write, tmp_path, monkeypatch):
        file = write(BASE)
        assert load_config(file).train_dataloader.dataset.root == "data/fer2013"
        monkeypatch.setenv("FERBENCH_DATA", "/elsewhere")
        assert load_config(file).train_dataloader.dataset.root == "/elsewhere/fer2013"
        assert load_config(file, data=tmp_path).train_dataloader.dataset.root == f"{tmp_path}/fer2013"
        assert os.environ["FERBENCH_DATA"] == str(tmp_path)

    def test_reading_is_silent(self, write, tmp_path, capfd):
        load_config(write(BASE), data=tmp_path)
        assert capfd.readouterr() == ("", "")

    def test_a_data_folder_that_does_not_exist(self, write, tmp_path):
        with pytest.raises(UserError, match="make_synthetic"):
            load_config(write(BASE), data=tmp_path / "absent")

    def test_bases_are_merged_and_helpers_dropped(self, write):
        write(BASE, "_base_/tiny.py")
        cfg = load_config(write("_base_ = '_base_/tiny.py'\nmodel = dict(algorithm=dict(floor=0.9))\n"))
        assert cfg.model.algorithm == dict(type="DTM", floor=0.9)
        assert cfg.model.preprocess.size == 48
        assert "_size" not in cfg

    def test_a_foreign_config_has_a_shipped_one_as_base(self, shipped, write):
        cfg = load_config(
            write("_base_ = '{{$FERBENCH_CONFIGS:}}/dtm/tiny_synthetic.py'\nlog_level = 'ERROR'\n")
        )
        assert cfg.log_level == "ERROR"
        assert cfg.model.algorithm.type == "DTM"

    def test_an_unknown_key_names_the_nearest_and_its_line(self, write):
        base = write(BASE + "\nparam_schedular = dict()\n", "_base_/tiny.py")
        line = base.read_text().splitlines().index("param_schedular = dict()") + 1
        with pytest.raises(UserError) as caught:
            load_config(write("_base_ = '_base_/tiny.py'\n"))
        assert "unknown key 'param_schedular'" in str(caught.value)
        assert "did you mean 'param_scheduler'" in str(caught.value)
        assert f"{base}:{line}" in str(caught.value)

    @pytest.mark.parametrize(
        ("section", "near"),
        [
            ("randomness = dict(sede=1)", "seed"),
            ("train_dataloader = dict(batchsize=1)", "batch_size"),
            ("unlabeled_dataloader = dict(mou=1)", "mu"),
            ("views = dict(strng=[])", "strong"),
        ],
    )
    def test_an_unknown_key_of_a_section_that_no_signature_checks(self, write, section, near):
        with pytest.raises(UserError, match=f"'{near}'") as caught:
            load_config(write(section))
        assert caught.value.where.endswith("mine.py:1")

    @pytest.mark.parametrize(
        ("text", "says", "line"),
        [
            ("classes = (1, 2)\nmodel = 2 3\n", "SyntaxError", 2),
            ("a = 1\nmodel = dict(x=undefined_name)\n", "NameError: name 'undefined_name'", 2),
        ],
    )
    def test_a_mistake_in_a_base_is_reported_where_it_is(self, write, text, says, line):
        base = write(text, "_base_/broken.py")
        with pytest.raises(UserError, match="cannot be read") as caught:
            load_config(write("_base_ = '_base_/broken.py'\n"))
        assert says in str(caught.value)
        assert caught.value.where == f"{base}:{line}"

    def test_a_base_that_does_not_exist(self, write):
        with pytest.raises(UserError, match=r"absent\.py"):
            load_config(write("_base_ = 'absent.py'\n"))

    def test_custom_imports(self, write, tmp_path):
        write("import sys\nsys.ferbench_was_here = True\n", "own_parts.py")
        load_config(write(f"custom_imports = dict(imports=['{tmp_path}/own_parts.py'])"))
        assert sys.ferbench_was_here
        del sys.ferbench_was_here, sys.modules["own_parts"]

    def test_plugins_of_the_command_line_become_part_of_the_config(self, write, tmp_path, monkeypatch):
        """So that the config saved with a run is enough to test it."""
        for name in ("told_parts", "own_parts"):
            write("", f"{name}.py")
        file = write(f"custom_imports = dict(imports=['{tmp_path}/own_parts.py'])")
        monkeypatch.chdir(tmp_path)
        cfg = load_config(file, plugins=["./told_parts.py", "json"])
        assert cfg.custom_imports.imports == [f"{tmp_path}/own_parts.py", f"{tmp_path}/told_parts.py", "json"]
        saved = tmp_path / "saved.py"
        cfg.dump(saved)
        del sys.modules["told_parts"], sys.modules["own_parts"]
        monkeypatch.chdir("/")
        load_config(saved)
        assert {"told_parts", "own_parts"} <= sys.modules.keys()
        del sys.modules["told_parts"], sys.modules["own_parts"]

    def test_custom_imports_that_fail(self, write):
        file = write("custom_imports = dict(imports=['absent_module_x'])")
        with pytest.raises(UserError, match="absent_module_x"):
            load_config(file)
        load_config(write("custom_imports = dict(imports='absent_module_x', allow_failed_imports=True)"))
        assert "absent_module_x" in plugins.failure_report()


SETTING = """
classes = ("Neutral", "Happiness")
model = dict(preprocess=dict(size=48))
train_dataloader = dict(batch_size=8)
"""
CALM = """
model = dict(algorithm=dict(type="Calm", level=0.9, rule=dict(step=1, size=2)))
overrides = dict(tiny_run=dict(level=0.6), short_run=dict(level=0.7, rule=dict(step=3)))
"""


class TestAlgorithm:
    @pytest.mark.parametrize(
        ("conditions", "level", "step"),
        [
            ("", 0.9, 1),
            ("conditions = ['short_run']", 0.7, 3),
            ("conditions = ('tiny_run', 'short_run')", 0.6, 3),
        ],
    )
    def test_a_data_set_is_one_file_and_an_algorithm_is_one_file(
        self, write, tmp_path, conditions, level, step
    ):
        """Two files outside of the project, which know nothing of each other."""
        setting, calm = write(SETTING + conditions, "here/mine.py"), write(CALM, "there/calm.py")
        cfg = load_config(setting, algorithm=str(calm))
        assert cfg.model.algorithm == dict(type="Calm", level=level, rule=dict(step=step, size=2))
        assert cfg.model.preprocess.size == 48
        assert not {"algorithm", "conditions", "overrides"} & cfg.keys()
        # each with what is shipped
        assert load_config(setting, algorithm="fixmatch").model.algorithm == dict(
            type="FixMatch", threshold=0.95
        )
        assert load_config("r50_abaw5", algorithm=str(calm)).model.algorithm.level == 0.9
        assert load_config("r18_fer2013", algorithm=str(calm)).model.algorithm.level == 0.7
        assert load_config("tiny_synthetic", algorithm=str(calm)).model.algorithm.level == 0.6

    def test_the_saved_config_needs_neither_file(self, write, tmp_path):
        write("import sys\nsys.ferbench_was_here = True\n", "there/calm_parts.py")
        calm = write(
            CALM + "custom_imports = dict(imports=['{{fileDirname}}/calm_parts.py'])\n", "there/calm.py"
        )
        cfg = load_config(write(SETTING), algorithm=str(calm))
        assert sys.ferbench_was_here
        saved = tmp_path / "saved.py"
        cfg.dump(saved)
        calm.unlink()
        assert load_config(saved).to_dict() == cfg.to_dict()
        del sys.ferbench_was_here, sys.modules["calm_parts"]

    def test_it_replaces_the_algorithm_of_any_config(self, write):
        calm = str(write(CALM, "calm.py"))
        for own in ("algorithm = 'dtm'\nmodel = dict(algorithm=dict(floor=0.7))", BASE):
            cfg = load_config(write(SETTING + own), algorithm=calm)
            assert cfg.model.algorithm == dict(type="Calm", level=0.9, rule=dict(step=1, size=2))

    def test_a_config_names_one_and_changes_it(self, write):
        """The changes win over what the algorithm says for the setting."""
        write(CALM, "calm.py")
        first = SETTING + "conditions = ['short_run']\nalgorithm = 'calm.py'\n"
        cfg = load_config(write(first + "model = dict(algorithm=dict(level=0.1, rule=dict(size=5)))"))
        assert cfg.model.algorithm == dict(type="Calm", level=0.1, rule=dict(step=3, size=5))
        write(first, "first.py")
        child = "_base_ = './first.py'\nmodel = dict(algorithm=dict(_delete_=True, type='Other'))"
        assert load_config(write(child)).model.algorithm == dict(type="Other")
        child = "_base_ = './first.py'\nalgorithm = None\nmodel = dict(algorithm=dict(type='Other'))"
        assert load_config(write(child)).model.algorithm == dict(type="Other")
        child = "_base_ = './first.py'\nalgorithm = 'fixmatch'"
        assert load_config(write(child)).model.algorithm == dict(type="FixMatch", threshold=0.95)

    def test_an_algorithm_that_is_another_with_changes(self, write):
        calm = write("algorithm = 'softmatch'\nmodel = dict(algorithm=dict(n_sigma=3))", "calm.py")
        cfg = load_config("r18_fer2013", algorithm=str(calm))
        assert cfg.model.algorithm == dict(type="SoftMatch", n_sigma=3, momentum=0.99, align_to="uniform")

    @pytest.mark.parametrize("name", ["softmatch", "SoftMatch", "configs/_base_/algorithms/softmatch.py"])
    def test_names_of_the_shipped_ones(self, name):
        assert load_config("r18_fer2013", algorithm=name).model.algorithm.type == "SoftMatch"

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (
                "algorithm = 'sofmatch'",
                ["no algorithm 'sofmatch'", "did you mean 'softmatch'", "ferbench list"],
            ),
            ("algorithm = './absent.py'", ["no algorithm file './absent.py'"]),
            (
                "algorithm = dict(type='DTM')",
                ["algorithm is {'type': 'DTM'}", "model = dict(algorithm=dict("],
            ),
            (
                "algorithm = 'dtm'\nmodel = dict(algorithm=dict(type='DTM'))",
                ["has a type, 'DTM'", "algorithm = None"],
            ),
            ("algorithm = 'mine.py'", ["names itself"]),
            ("algorithm = 'none.py'", ["no model.algorithm"]),
            ("algorithm = 'typo.py'", ["unknown key 'overides'", "did you mean 'overrides'"]),
            ("algorithm = 'when.py'", ["unknown condition 'short'", "short_run: 3,000 iterations or fewer"]),
            ("algorithm = 'flat.py'", ["overrides is {'short_run': 3}"]),
            ("algorithm = 'dtm'\nmodel = dict(algorithm=dict(floor=dict(a=1)))", ["cannot be changed"]),
            ("conditions = 'short_run'", ["conditions is 'short_run'", "a list"]),
            ("conditions = ['shortrun']", ["unknown condition 'shortrun'"]),
        ],
    )
    def test_mistakes(self, write, text, says):
        write("log_level = 'INFO'", "none.py")
        write(CALM + "overides = 3", "typo.py")
        write(CALM + "overrides = dict(short=dict(level=1))", "when.py")
        write(CALM + "overrides = dict(short_run=3)", "flat.py")
        with pytest.raises(UserError) as caught:
            load_config(write(text + "\ntrain_dataloader = dict(batch_size=8)\n"))
        for sentence in says:
            assert sentence in str(caught.value)

    def test_a_file_of_an_earlier_version_names_what_to_write(self, write):
        with pytest.raises(UserError) as caught:
            load_config("configs/softmatch/r50_abaw5.py")
        words = re.search(r"train.py (\S+) --algorithm (\S+)", caught.value.fix)
        assert load_config(words[1], algorithm=words[2]).model.algorithm.type == "SoftMatch"
        with pytest.raises(UserError) as caught:
            load_config(write("_base_ = '{{$FERBENCH_CONFIGS:}}/comatch/r18_fer2013.py'"))
        lines = caught.value.fix.replace(" and ", "\n")
        assert load_config(write(lines)).model.algorithm.type == "CoMatch"
        with pytest.raises(UserError, match="--algorithm dtm_full"):
            find_config("/elsewhere/configs/dtm/r18_ferplus_full.py")
        with pytest.raises(UserError) as caught:
            find_config("configs/nothing/r50_abaw5.py")
        assert caught.value.fix is None

    @pytest.mark.parametrize("key", ["algorithm", "conditions", "overrides.short_run"])
    def test_what_only_files_say_is_no_option(self, key):
        with pytest.raises(UserError, match="--algorithm NAME"):
            load_config("dtm/tiny_synthetic", {key: "x"})


class TestOptions:
    @pytest.mark.parametrize(
        ("pair", "value"),
        [
            ("a.b=3", 3), ("a.b=0.5", 0.5), ("a.b=1e-3", 0.001), ("a.b=true", True), ("a.b=None", None),
            ("a.b=x=y", "x=y"), ("a.b=[1,2]", [1, 2]), ("a.b=1,2", [1, 2]),
            ("a.b=[(1,x),(2,y)]", [(1, "x"), (2, "y")]),
            ("a.b=-1", -1),
            ("a.b=dict(type='FixMatch', threshold=0.9)", {"type": "FixMatch", "threshold": 0.9}),
            ("a.b=dict(type=FixMatch,judge=ema,ramp=-1,x=true,y=None)",
             {"type": "FixMatch", "judge": "ema", "ramp": -1, "x": True, "y": None}),
            ("a.b={'type': 'X', 'deep': {'c': (1, 'x')}, 3: []}", {"type": "X", "deep": {"c": (1, "x")}, 3: []}),
            ("a.b=[dict(type='A'), {'type': 'B, C'}]", [{"type": "A"}, {"type": "B, C"}]),
            ("a.b={}", {}), ("a.b= dict()", {}), ("a.b=a{b}", "a{b}"), ("a.b=dictionary", "dictionary"),
        ],
    )  # fmt: skip
    def test_values(self, pair, value):
        assert parse_options([pair]) == {"a.b": value}

    def test_none_and_many(self):
        assert parse_options([]) == {}
        assert parse_options(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}

    @pytest.mark.parametrize("pair", ["a.b", "=3", "a=[1,(2]"])
    def test_what_is_no_pair(self, pair):
        with pytest.raises(UserError, match="--cfg-options got"):
            parse_options([pair])

    @pytest.mark.parametrize("value", [
        "dict(type='FixMatch'", "{'a': }", "dict('FixMatch')", "dict(**x)", "{**x}", "{1, 2}", "dict(a=__import__('os'))",
        "dict(a=1 + 1)", "dict(a=b.c)", "{[]: 1}", "[dict(a=1)", "dict(a=1)(b=2)", "{'a': 'x'.upper()}",
        "dict(" + 900 * "[", "dict(a=" + 900 * "[" + 900 * "]" + ")", 300 * "{1:" + "1" + 300 * "}",
    ])  # fmt: skip
    def test_what_is_no_dict(self, value):
        with pytest.raises(UserError, match="--cfg-options got") as caught:
            parse_options([f"model.algorithm={value}"])
        assert "dict(type='FixMatch', threshold=0.9)" in caught.value.expected

    @pytest.mark.parametrize("value", ["x" * 100_000 + "()", "[" * 100_000, "dict(" * 50_000])
    def test_a_value_without_end_takes_no_time(self, value):
        with pytest.raises(UserError, match=r"got an option of \d+,\d+ characters") as caught:
            parse_options([f"train_cfg.max_iters={value}"])
        assert len(str(caught.value)) < 400

    def test_a_dict_with_a_type_replaces_the_section(self, write):
        options = parse_options(["model.algorithm=dict(type='UDA')", "model.algorithm.ramp=0.5"])
        assert load_config(write(BASE), options).model.algorithm == dict(type="UDA", ramp=0.5)

    def test_parts_within_parts_are_set_in_their_order(self, write):
        rule, inner = "dict(type='FixedThreshold')", "model.algorithm.threshold"
        options = parse_options(
            ["model.algorithm=dict(type='Matching')", f"{inner}={rule}", f"{inner}.threshold=0.5"]
        )
        algorithm = dict(type="Matching", threshold=dict(type="FixedThreshold", threshold=0.5))
        assert load_config(write(BASE), options).model.algorithm == algorithm
        options = parse_options([f"{inner}={rule}", "model.algorithm=dict(type='FixMatch')"])
        assert load_config(write(BASE), options).model.algorithm == dict(type="FixMatch")

    def test_a_part_of_a_section_that_is_replaced_key_by_key(self, write):
        text = BASE.replace('type="DTM", floor=0.8', 'type="ABC", base=dict(type="DTM")')
        options = {
            "model.algorithm._delete_": True,
            "model.algorithm.type": "TRAS",
            "model.algorithm.base": dict(type="UDA"),
        }
        assert load_config(write(text), options).model.algorithm == dict(type="TRAS", base=dict(type="UDA"))
        assert options["model.algorithm.base"] == dict(type="UDA")

    @pytest.mark.parametrize("before", ["None", "3", "'x'"])
    def test_a_part_in_place_of_none(self, write, before):
        text = BASE.replace("floor=0.8", f"rule={before}")
        cfg = load_config(write(text), parse_options(["model.algorithm.rule=dict(init=0.5)"]))
        assert cfg.model.algorithm.rule == dict(init=0.5)

    def test_the_word_of_mmengine_counts_for_all_keys_of_a_section(self, write):
        options = {
            "model.algorithm._delete_": True,
            "model.algorithm.type": "UDA",
            "model.algorithm.ramp": 0.5,
        }
        assert load_config(write(BASE), options).model.algorithm == dict(type="UDA", ramp=0.5)

    def test_a_part_that_was_not_there(self, write):
        options = parse_options(
            ["model.head=dict(type='LinearHead')", "optim_wrapper=dict(type='X', optimizer=dict(lr=1))"]
        )
        cfg = load_config(write(BASE), options)
        assert cfg.model.head == dict(type="LinearHead")
        assert cfg.optim_wrapper == dict(type="X", optimizer=dict(lr=1))

    def test_a_dict_without_a_type_changes_some_keys(self, write):
        algorithm = load_config(
            write(BASE), parse_options(["model.algorithm=dict(beta=0.5)"])
        ).model.algorithm
        assert algorithm == dict(load_config(write(BASE)).model.algorithm, beta=0.5)

    def test_a_dict_in_place_of_a_word(self, write):
        cfg = load_config(write(BASE), parse_options(["model.algorithm.floor=dict(a=1)"]))
        assert cfg.model.algorithm.floor == dict(a=1)

    @pytest.mark.parametrize(
        ("pair", "says"),
        [
            ("train_dataloader=dict(batchsize=3)", "did you mean 'batch_size'"),
            ("views=3", "views is 3"),
        ],
    )
    def test_a_section_is_checked_whole(self, write, pair, says):
        with pytest.raises(UserError) as caught:
            load_config(write(BASE), parse_options([pair]))
        assert says in str(caught.value)
        assert caught.value.where == "--cfg-options"

    @given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
    def test_what_python_prints_comes_back(self, value):
        assert parse_options([f"k={value}"]) == {"k": value}

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("model.algorithm.floor", 0.5),  # exists
            ("model.algorithm.beta", 0.5),  # a new parameter of a part: checked when it is built
            ("model.ema_decay", 0.5),  # of a section whose type has a default
            ("train_cfg.val_interval", 5),
            ("custom_hooks.1.every", 3),
            ("randomness.seed", 3),  # of a section that the config does not have
            ("unlabeled_dataloader.mu", 3),
            ("train_dataloader.num_workers", 3),  # known, though the config does not say it
            ("log_level", 30),
        ],
    )
    def test_what_may_be_set(self, write, key, value):
        node = load_config(write(BASE), {key: value})
        for part in key.split("."):
            node = node[int(part) if part.isdigit() else part]
        assert node == value

    @pytest.mark.parametrize(
        ("key", "says"),
        [
            ("modle.algorithm.floor", "did you mean 'model'"),
            ("model.preprocess.sise", "did you mean 'size'"),
            ("train_dataloader.batchsize", "did you mean 'batch_size'"),
            ("custom_hooks.2.every", "known: 0, 1"),
            ("custom_hooks.1", "set custom_hooks itself"),
            ("model.algorithm.floor.deep", "model.algorithm.floor is 0.8"),
            ("classes.0", "set classes itself"),
            ("_size", "there is no key '_size'"),
        ],
    )
    def test_what_may_not(self, write, key, says):
        with pytest.raises(UserError) as caught:
            load_config(write(BASE), {key: 1})
        assert key in str(caught.value)
        assert says in str(caught.value)


PARTS = Registry("test part", parent=MM_MODELS, scope="ferbench_test")


@PARTS.register_module()
class Leaf:
    def __init__(self, size, depth=2):
        self.size, self.depth = size, depth


@PARTS.register_module()
class Branch(Leaf):
    def __init__(self, width=1, **leaf):
        super().__init__(size=width, **leaf)
        self.width = width


@PARTS.register_module()
class Open(nn.Module):
    def __init__(self, **anything):
        super().__init__(**anything)


@PARTS.register_module()
def function(size, *, depth=2):
    return size, depth


class TestBuild:
    def test_a_part_with_defaults_of_the_framework(self):
        part = build(PARTS, dict(type="Leaf", depth=5), "model.leaf", size=3, depth=4)
        assert (part.size, part.depth) == (3, 5)
        assert build(PARTS, dict(type="function", size=1), "f") == (1, 2)
        assert build(PARTS, dict(type=Leaf, size=1), "f").size == 1

    def test_parameters_reach_the_base_class(self):
        assert build(PARTS, dict(type="Branch", depth=7), "model.branch").depth == 7

    @pytest.mark.parametrize("kind", ["Leaf", "Branch", "function"])
    def test_an_unknown_parameter(self, kind):
        with pytest.raises(UserError) as caught:
            build(PARTS, dict(type=kind, size=1, dept=2), "model.part")
        assert f"{kind} has no parameter 'dept'" in str(caught.value)
        assert caught.value.where == "model.part.dept"
        assert "did you mean 'depth'" in str(caught.value)

    def test_a_type_that_was_changed_without_its_parameters(self):
        """The message shows how the section is replaced, in words that `parse_options` reads."""
        with pytest.raises(UserError, match="Leaf has no parameter 'width'") as caught:
            build(PARTS, dict(type="Leaf", width=3), "model.part")
        option = re.search('"(.*)"', caught.value.fix)[1].replace("...", "size=3")
        assert parse_options([option]) == {"model.part": dict(type="Leaf", size=3)}

    def test_an_unknown_parameter_that_only_the_constructor_finds(self):
        with pytest.raises(UserError, match="Open has no parameter 'dept'"):
            build(PARTS, dict(type="Open", dept=2), "model.part")

    def test_a_missing_parameter(self):
        with pytest.raises(UserError, match="Leaf needs 'size'"):
            build(PARTS, dict(type="Leaf"), "model.part")

    @pytest.mark.parametrize("section", [None, 3, {}, {"size": 1}])
    def test_a_section_without_a_type(self, section):
        with pytest.raises(UserError, match="no 'type'"):
            build(PARTS, section, "model.part")

    def test_an_unknown_name(self):
        with pytest.raises(UserError, match="'Leav'"):
            build(PARTS, dict(type="Leav"), "model.part")

    def test_a_constructor_s_own_error_is_left_alone(self):
        def fails():
            raise TypeError("something else")

        with pytest.raises(TypeError, match="something else"):
            build(PARTS, dict(type=fails), "model.part")
