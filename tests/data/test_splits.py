"""Splits: exact budgets, disjoint parts, groups on one side, any order, manifests that prove their data."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.core.parts import build
from ferbench.data.datasets.base import FaceDataset
from ferbench.data.splits import BudgetSplit, SplitRule, resolve
from ferbench.errors import UserError
from ferbench.registry import SPLITS


class Items(FaceDataset):
    """Labels and groups without images, listed in any order."""

    def __init__(self, ids, labels, groups=None, copies=False, classes=("a", "b", "c"), name="items"):
        self.ids, self.labels, self.classes, self.name = (
            list(ids),
            np.asarray(labels, np.int16),
            classes,
            name,
        )
        if groups is not None:
            self.group_names = sorted(set(groups))
            self.groups = np.array([self.group_names.index(g) for g in groups], np.int32)
            self.groups_are_copies = copies

    def item_id(self, index):
        return self.ids[index]

    def read(self, index):
        raise AssertionError("a split reads no image")


def items(counts=(40, 30, 20), unlabeled=7):
    labels = np.concatenate([np.repeat(np.arange(len(counts)), counts), np.full(unlabeled, -1)])
    return Items([f"i{k * 7919 % 10007:05d}" for k in range(len(labels))], labels)


def videos(seed=0, count=60, copies=False):
    rng = np.random.default_rng(seed)
    names, labels, groups = [], [], []
    for v in range(count):
        habit = rng.dirichlet([0.6, 0.4, 0.3, 0.2])
        for f in range(int(rng.integers(20, 120))):
            names.append(f"v{v:03d}/{f:05d}")
            labels.append(int(rng.choice(4, p=habit)) - 1)
            groups.append(f"v{v:03d}")
    return Items(names, labels, groups, copies)


def shuffled(data: Items, seed: int) -> Items:
    order = np.random.default_rng(seed).permutation(len(data))
    groups = None if data.groups is None else [data.group_names[data.groups[i]] for i in order]
    return Items(
        [data.ids[i] for i in order], data.labels[order], groups, data.groups_are_copies, data.classes
    )


def names_of(data, split):
    return {part: sorted(data.item_ids(idx)) for part, idx in split.parts.items()}


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(8, 40), min_size=3, max_size=3),
    unlabeled=st.integers(0, 20),
    per_class=st.integers(1, 5),
    val=st.sampled_from([0, 3, 5, 0.2]),
    seed=st.integers(0, 10**6),
    order=st.integers(0, 99),
)
def test_parts_are_exact_disjoint_complete_and_independent_of_order(
    counts, unlabeled, per_class, val, seed, order
):
    data = items(counts, unlabeled)
    rule = BudgetSplit(per_class=per_class, val=val, seed=seed)
    parts = rule(data).parts
    np.testing.assert_array_equal(np.bincount(data.labels[parts["labeled"]], minlength=3), [per_class] * 3)
    wanted_val = round(val * sum(counts)) if isinstance(val, float) else val
    assert len(parts.get("val", [])) == wanted_val
    labeled, unlabeled_part, val_part = (
        set(parts.get(p, np.array([])).tolist()) for p in ("labeled", "unlabeled", "val")
    )
    assert not labeled & val_part
    assert not unlabeled_part & val_part
    assert not labeled & unlabeled_part
    assert labeled | unlabeled_part | val_part == set(range(len(data)))
    other = shuffled(data, order)
    assert names_of(data, rule(data)) == names_of(other, rule(other))


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), data_seed=st.integers(0, 50), by=st.sampled_from(["item", "group"]))
def test_no_video_is_on_two_sides(seed, data_seed, by):
    data = videos(data_seed)
    rule = BudgetSplit(percent=20, val=0.2, seed=seed, by=by)
    parts = rule(data).parts
    sides = {part: set(data.groups[idx].tolist()) for part, idx in parts.items()}
    assert not sides["val"] & (sides["labeled"] | sides["unlabeled"])
    if by == "group":
        assert not sides["labeled"] & sides["unlabeled"]
    whole_val = np.flatnonzero(np.isin(data.groups, list(sides["val"])) & (data.labels >= 0))
    np.testing.assert_array_equal(parts["val"], whole_val)
    other = shuffled(data, seed)
    assert names_of(data, rule(data)) == names_of(other, rule(other))


def test_whole_videos_have_nearly_the_proportions_of_all():
    data = videos(3, 200)
    have = np.bincount(data.labels[data.labels >= 0])
    for seed in range(5):
        parts = BudgetSplit(percent=25, val=0.2, seed=seed, by="group")(data).parts
        val, labeled = (np.bincount(data.labels[parts[part]], minlength=3) for part in ("val", "labeled"))
        assert np.all(abs(val / (0.2 * have) - 1) < 0.01)
        assert np.all(abs(labeled / (0.25 * (have - val)) - 1) < 0.01)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), per_class=st.integers(1, 10), val=st.sampled_from([0, 6]))
def test_copies_of_an_image_stay_together_and_budgets_stay_exact(seed, per_class, val):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 120)
    groups = [
        f"g{g}" for g in np.minimum(rng.integers(0, 100, 120) * 2, np.arange(120) + 200)
    ]  # some contradict
    data = Items([f"{i:04d}" for i in range(120)], labels, groups, copies=True)
    parts = BudgetSplit(per_class=per_class, val=val, seed=seed)(data).parts
    np.testing.assert_array_equal(np.bincount(labels[parts["labeled"]], minlength=3), [per_class] * 3)
    assert len(parts.get("val", [])) == val
    side = np.zeros(120, int)
    for number, idx in enumerate(parts.values()):
        side[idx] = number
    for g in np.unique(data.groups):
        assert len(set(side[data.groups == g].tolist())) == 1


def test_seeds_differ_and_a_seed_is_the_same_for_ever():
    data = items()
    hashes = {BudgetSplit(per_class=5, seed=seed)(data).hash for seed in range(20)}
    assert len(hashes) == 20
    np.random.seed(3)  # the global generator must not matter
    first = names_of(data, BudgetSplit(per_class=2, val=3, seed=1)(data))
    assert {p: first[p] for p in ("labeled", "val")} == PINNED


PINNED = {
    "labeled": ["i00279", "i00991", "i07765", "i08275", "i09343", "i09574"],
    "val": ["i02290", "i02877", "i03079"],
}


def test_budgets_are_nested_and_do_not_move_validation():
    data = items()
    small, large = (BudgetSplit(per_class=n, val=9, seed=4)(data).parts for n in (3, 11))
    assert set(small["labeled"].tolist()) < set(large["labeled"].tolist())
    np.testing.assert_array_equal(small["val"], large["val"])


@pytest.mark.parametrize(
    ("budget", "counts"),
    [
        (dict(total=9), [4, 3, 2]),
        (dict(total=10), [5, 3, 2]),  # 4.44, 3.33, 2.22: the largest remainder gets the tenth
        (dict(percent=50), [20, 15, 10]),
        (dict(per_class={"a": 1, "b": 0, "c": 20}), [1, 0, 20]),
        (dict(), [40, 30, 20]),
        (dict(percent=100), [40, 30, 20]),
    ],
)
def test_budgets_by_class(budget, counts):
    data = items()
    parts = BudgetSplit(**budget)(data).parts
    np.testing.assert_array_equal(np.bincount(data.labels[parts["labeled"]], minlength=3), counts)


def test_a_rare_class_gets_at_least_one():
    data = items((500, 300, 2))
    labels = data.labels[BudgetSplit(total=20)(data).parts["labeled"]]
    assert np.bincount(labels).tolist() == [
        12,
        7,
        1,
    ]  # 12.5, 7.5, 0.05: the one for c is taken from the last step


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (dict(per_class=21), r"class 'c' has too few images.*20 found, 21 asked"),
        (dict(per_class=15, val=0.5), r"class 'b'|class 'c'"),
        (dict(total=91), "too few"),
        (dict(total=2), "one of each class"),
        (dict(per_class={"a": 1}), "per_class"),
        (dict(per_class=1, by="group"), "no groups"),
        (dict(per_class=1, by="video"), "'video'"),
        (dict(per_class=1, total=5), "more than one budget"),
        (dict(val=1.5), "val=1.5"),
        (dict(percent=0), "percent=0"),
        (dict(percent="10"), "percent='10'"),
        (dict(percent=float("nan")), "percent=nan"),
        (dict(per_class=-1), "per_class=-1"),
        (dict(per_class=2.5), r"per_class=2\.5"),
        (dict(per_class={"a": 1, "b": "2", "c": 3}), r"per_class\['b'\]='2'"),
        (dict(per_class={"a": 1, "b": None, "c": 3}), r"per_class\['b'\]=None"),
        (dict(val="0.1"), "val='0.1'"),
        (dict(val=float("nan")), "val=nan"),
        (dict(val=True), "val=True"),
        (dict(total=-5), "total=-5"),
        (dict(total="all"), "total='all'"),
    ],
)
def test_impossible_budgets_are_refused(arguments, says):
    with pytest.raises(UserError, match=says):
        BudgetSplit(**arguments)(items())


def test_two_items_of_one_id_are_refused():
    with pytest.raises(UserError, match="same id 'x'"):
        BudgetSplit(per_class=1)(Items(["x", "y", "x"], [0, 1, 2]))


@pytest.mark.parametrize("by", ["item", "group"])
def test_a_manifest_gives_back_the_same_parts(tmp_path, by):
    data = videos()
    file = tmp_path / "deep" / "split.json"
    config = dict(type="BudgetSplit", percent=20, val=0.2, seed=5, by=by, file=str(file))
    drawn = SPLITS.build(config)(data)
    before = file.read_bytes()
    again = SPLITS.build(config)(shuffled(data, 1))
    assert file.read_bytes() == before
    assert names_of(data, drawn) == names_of(shuffled(data, 1), again)
    assert drawn.hash == again.hash
    read = resolve(data, file)
    for part, indices in drawn.parts.items():
        assert read[part].dtype == np.int64
        np.testing.assert_array_equal(read[part], indices)
    manifest = json.loads(before)
    joined = "\n".join(sorted(data.item_ids(drawn.parts["labeled"])))
    assert manifest["parts"]["labeled"]["sha256"] == hashlib.sha256(joined.encode()).hexdigest()
    assert manifest["parts"]["unlabeled"]["rest"] is True
    assert "groups" in manifest["parts"]["val"]
    assert [p.name for p in file.parent.iterdir()] == ["split.json"]  # no half-written file stays behind


def test_the_former_name_of_include_labeled(tmp_path):
    """A saved config that has it as it was by default is read, and the manifest's spec and hash are what they were."""
    former = dict(
        type="BudgetSplit", per_class=4, val=6, labeled_in_unlabeled=False, file=str(tmp_path / "s.json")
    )
    assert SPLITS.build(former)(items()).hash == BudgetSplit(per_class=4, val=6)(items()).hash
    assert json.loads((tmp_path / "s.json").read_text())["spec"]["labeled_in_unlabeled"] is False
    for value in (True, 1, "no"):
        with pytest.raises(UserError) as error:
            build(SPLITS, {**former, "labeled_in_unlabeled": value}, "split")
        assert error.value.fix == "write in the config: unlabeled_dataloader = dict(include_labeled=True)"


def written(tmp_path, data=None):
    data = data or items()
    file = tmp_path / "split.json"
    BudgetSplit(per_class=4, val=6, file=file)(data)
    return data, file


def test_a_manifest_of_other_data_is_refused(tmp_path):
    data, file = written(tmp_path)
    without = Items(data.ids[1:], data.labels[1:])
    gone = Items([i + "x" for i in data.ids], data.labels)
    relabeled = Items(data.ids, data.labels[::-1])
    classes = Items(data.ids, data.labels, classes=("a", "c", "b"))
    for other, says in (
        (without, "number of images|not in dataset"),
        (gone, "14|12 of 12 ids|not in dataset 'items'"),
        (relabeled, "images per class|other labels"),
        (classes, "for the classes"),
    ):
        with pytest.raises(UserError, match=says) as error:
            resolve(other, file)
        assert str(file) in str(error.value)
        assert "delete" not in error.value.fix  # it may belong to a finished run
        assert "--work-dir" in error.value.fix
    swapped = data.labels.copy()  # the same counts in every part, yet two images have exchanged their labels
    labeled = resolve(data, file)["labeled"]
    one, two = labeled[swapped[labeled] == 0][0], labeled[swapped[labeled] == 1][0]
    swapped[one], swapped[two] = 1, 0
    with pytest.raises(UserError, match="other labels"):
        resolve(Items(data.ids, swapped), file)


def test_a_manifest_of_another_config_is_refused(tmp_path):
    data, file = written(tmp_path)
    with pytest.raises(UserError, match="per_class: 4 in the file, 5 in the config"):
        BudgetSplit(per_class=5, val=6, file=file)(data)
    with pytest.raises(UserError, match="seed: 0 in the file, 1 in the config"):
        BudgetSplit(per_class=4, val=6, seed=1, file=file)(data)


def test_an_edited_or_broken_manifest_is_refused(tmp_path):
    data, file = written(tmp_path)
    manifest = json.loads(file.read_text())
    ids = manifest["parts"]["labeled"]["ids"]
    ids[0] = next(i for i in data.ids if i not in ids)
    file.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="edited"):
        resolve(data, file)
    file.write_text(json.dumps(manifest)[:50])
    with pytest.raises(UserError, match="not JSON"):
        resolve(data, file)
    file.write_text('{"format": "ferbench-split/9"}')
    with pytest.raises(UserError, match="ferbench-split/9"):
        resolve(data, file)
    with pytest.raises(UserError, match="cannot be read"):
        resolve(data, tmp_path / "none.json")


def sealed(manifest):
    """With the right hash, whatever the content: as another program, or a fault of an older version, may have written it."""
    content = {k: v for k, v in manifest.items() if k != "manifest_sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps(content | {"manifest_sha256": hashlib.sha256(text.encode()).hexdigest()})


def hash_of_parts(parts):
    told = {n: {k: p.get(k) for k in ("sha256", "labels_sha256")} for n, p in parts.items()}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.parametrize(("where", "value", "says"), [
    ([], {"format": "ferbench-split/1"}, "damaged"),
    (["dataset"], 3, "dataset is 3"), (["items"], "40", "items is"), (["items"], True, "items is"), (["spec"], [], "spec"),
    (["spec"], None, "spec"), (["parts"], [], "parts"), (["classes"], "abc", "classes"), (["classes"], [1, 2], "classes"),
    (["classes"], ["a", "a"], "twice"), (["split_hash"], "0" * 64, "split_hash"), (["split_hash"], 0, "split_hash"),
    (["parts", "labeled"], None, "labeled"), (["parts", "labeled", "ids"], 3, "no list"),
    (["parts", "labeled", "ids"], ["i001", 3], "no list"), (["parts", "labeled", "ids"], [["i001"]], "no list"),
    (["parts", "labeled", "ids"], ["x", "x"], "twice"), (["parts", "labeled", "groups"], [], "not told"),
    (["parts", "labeled", "rest"], True, "not told"), (["parts", "val"], {"rest": True}, "not told"),
    (["parts", "unlabeled", "also"], ["nobody"], "does not have"), (["parts", "unlabeled", "also"], None, "no list"),
    (["parts", "unlabeled", "without_groups_of"], ["unlabeled"], "does not have"),
    (["parts", "labeled", "count"], "12", "no count"), (["parts", "labeled", "count"], 13, "number of images"),
    (["parts", "labeled", "sha256"], None, "no count"), (["parts", "labeled", "class_counts"], {"a": 12}, "images per class"),
    (["parts", "labeled", "class_counts"], "x" * 100_000, "images per class"),
])  # fmt: skip
def test_a_manifest_whose_hash_is_right_and_whose_content_is_not(where, value, says, tmp_path):
    """Any key missing or of another type, names twice, parts that the split does not have."""
    data, file = written(tmp_path)
    manifest = json.loads(file.read_text())
    if where:
        node = manifest
        for key in where[:-1]:
            node = node[key]
        node[where[-1]] = value
    else:
        manifest = value
    file.write_text(sealed(manifest))
    with pytest.raises(UserError, match=says) as error:
        BudgetSplit(per_class=4, val=6, file=file)(data)
    assert str(file) in str(error.value)
    assert len(str(error.value)) < 1500


def test_a_manifest_with_an_image_in_two_parts_is_refused(tmp_path):
    data, file = written(tmp_path)
    manifest = json.loads(file.read_text())
    parts = manifest["parts"]
    parts["val"] = dict(parts["labeled"])
    del parts["unlabeled"]  # whose count would give it away
    manifest["split_hash"] = hash_of_parts(parts)
    file.write_text(sealed(manifest))
    with pytest.raises(UserError, match="in part 'labeled' and in part 'val'"):
        BudgetSplit(per_class=4, val=6, file=file)(data)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, '{"format": ' + "9" * 5000 + "}", "\ufeff", "\0", "[]"]
)
def test_a_manifest_that_is_no_json_or_nested_too_deeply(content, tmp_path):
    data, file = written(tmp_path)
    file.write_text(content)
    with pytest.raises(UserError, match=r"not JSON|not a split manifest"):
        resolve(data, file)


def test_racing_processes_write_the_same_bytes_and_an_unwritable_file_is_said(tmp_path):
    data = videos()
    files = [tmp_path / f"{i}.json" for i in range(2)]
    for file, source in zip(files, (data, shuffled(data, 8)), strict=True):
        BudgetSplit(total=500, val=0.1, by="group", file=file)(source)
    assert files[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(UserError, match="cannot be written"):
        BudgetSplit(total=500, file=files[0] / "split.json")(data)


def test_a_budget_that_whole_videos_cannot_meet_is_logged(caplog):
    data = Items(
        [f"{v}{f}" for v in "xy" for f in range(8)], [0, 0, 0, 0, 0, 0, 0, 1] * 2, ["x"] * 8 + ["y"] * 8
    )
    BudgetSplit(per_class={"a": 4, "b": 1, "c": 0}, by="group")(data)
    assert "holds 7 images of class 'a', asked 4: whole videos come no nearer" in caplog.text


def test_a_budget_of_whole_videos_without_a_class_is_refused():
    with pytest.raises(UserError, match="no image of class 'b'") as caught:
        BudgetSplit(per_class=2, by="group")(videos())
    assert "by='item'" in caught.value.fix
    BudgetSplit(per_class={"a": 5, "b": 0, "c": 5}, by="group")(videos())  # asked for


def test_subsets_carry_the_parts():
    data = items()
    split = BudgetSplit(per_class=2, val=3)(data)
    subsets = split.subsets(data)
    assert subsets["labeled"].name == "items/labeled"
    assert subsets["labeled"].class_counts().tolist() == [2, 2, 2]
    assert len(subsets["unlabeled"]) == len(data) - 9


LABELED, REST = np.arange(3), np.arange(5, 9)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (None, "returned None"), ({"unlabeled": REST}, "returned .'unlabeled'. instead"),
        ({"labeled": LABELED}, "instead of the parts by name"),
        ({"labeled": LABELED, "unlabeled": REST, "test": REST}, "'test'"),
        ({"labeled": LABELED, "unlabeled": REST, "val": np.array([2, 4])}, "1 items of val into another part"),
        ({"labeled": LABELED, "unlabeled": REST, "val": np.array([4, 5])}, "1 items of val into another part"),
        ({"labeled": np.arange(8, 10_000), "unlabeled": REST}, "for labeled numbers that are not ascending from 0 to"),
        ({"labeled": np.arange(-1, 4), "unlabeled": REST}, "for labeled numbers"),
        ({"labeled": LABELED[::-1], "unlabeled": REST}, "for labeled numbers"),
        ({"labeled": LABELED, "unlabeled": np.array([5, 5])}, "for unlabeled numbers"),
        ({"labeled": LABELED * 1.0, "unlabeled": REST}, r"labeled as float64 of shape \(3,\)"),
        ({"labeled": LABELED[None], "unlabeled": REST}, r"labeled as int64 of shape \(1, 3\)"),
        ({"labeled": np.arange(9) < 3, "unlabeled": REST}, "labeled as bool"),
    ],
)  # fmt: skip
def test_what_a_rule_of_ones_own_must_not_draw(parts, says, tmp_path):
    """Each ended in a traceback, or in a split that validates on training images; no manifest is written."""
    rule = Own(parts, tmp_path / "split.json")
    with pytest.raises(UserError, match=rf"Own\.draw\(\) .*{says}"):
        rule(items())
    assert not rule.file.exists()


class Own(SplitRule):
    spec = {"type": "Own"}

    def __init__(self, parts, file=None):
        super().__init__(file)
        self.parts = parts

    def draw(self, listing):
        return self.parts


def test_a_rule_of_ones_own_may_draw_lists_and_put_labeled_images_into_the_unlabeled_part():
    split = Own({"labeled": [0, 2], "unlabeled": [0, 1, 2, 5], "val": []})(items())
    assert {name: (p.dtype, p.tolist()) for name, p in split.parts.items()} == {
        "labeled": (np.int64, [0, 2]), "unlabeled": (np.int64, [0, 1, 2, 5]), "val": (np.int64, [])
    }  # fmt: skip
