"""Run records: what is written is read, and what does not fit is refused by name."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from ferbench import records
from ferbench.errors import UserError
from ferbench.records.consistency import scores_of


def change(file, *path, value):
    """Set (or, with None as the last of the path, remove) one key of a JSON file."""
    content = json.loads(file.read_text())
    node = content
    for key in path[:-1]:
        node = node[key]
    if value is KeyError:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    file.write_text(json.dumps(content))


@pytest.fixture
def file(tmp_path, make_record):
    path = tmp_path / "record.json"
    records.write(make_record(), path)
    return path


class TestRoundTrip:
    def test_what_is_written_is_read(self, tmp_path, make_record, make_result, cell, failed_record):
        grouped = make_result("best", "ema", groups={"v1": [[0, 0, 6], [0, 1, 2], [1, 1, 4]],
                                                     "v2": [[1, 0, 1], [2, 1, 2], [2, 2, 5]]})  # fmt: skip
        smoothed = make_result("best", "ema", smoothed=True)
        running = {"status": "running", "results": [], "curves": records.Curves(), "cost": None}
        for written in (
            make_record(), make_record(cell=cell), make_record(cell=replace(cell, trial=3, trials=5)), failed_record,
            make_record(results=[grouped, smoothed]), make_record(**running), make_record(split_hash=None),
        ):  # fmt: skip
            records.write(written, tmp_path / "r.json")
            assert records.read(tmp_path / "r.json") == written

    def test_one_line_per_key_and_no_nan(self, file, make_record, tmp_path):
        lines = file.read_text().splitlines()
        assert len(lines) == len(asdict(make_record())) + 2
        assert json.loads(file.read_text())["curves"]["classes"]["purity"][0] == [0.9, None, None]
        with pytest.raises(ValueError, match="JSON"):
            records.write(
                make_record(cost=records.Cost(float("nan"), 1, None, None, 1.0, None, [])), tmp_path / "n"
            )
        assert not list(tmp_path.glob("*n*.tmp"))
        assert not (tmp_path / "n").exists()

    def test_a_whole_number_is_a_share_too(self, file):
        change(file, "results", 0, "val_macro_f1", value=1)
        assert records.read(file).results[0].val_macro_f1 == 1.0

    def test_the_example_is_right(self, make_record):
        """By scikit-learn, so that the tests of statistics may build on it."""
        row = make_record().result("best", "ema")
        truth, predicted = (np.repeat(np.indices((3, 3))[i].ravel(), np.ravel(row.confusion)) for i in (0, 1))
        assert row.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))


class TestAccess:
    def test_a_result(self, make_record, make_result):
        rows = [make_result("best", "ema", iter=7), make_result("best", "ema", smoothed=True, iter=8)]
        found = make_record(results=rows)
        assert found.result().iter == 7
        assert found.result("best", "ema", smoothed=True).iter == 8
        with pytest.raises(KeyError, match="no last raw"):
            found.result("last", "raw")

    def test_a_trial_is_no_result(self, make_record, cell):
        assert not make_record().is_trial
        assert not make_record(cell=replace(cell, trials=5)).is_trial
        assert make_record(cell=replace(cell, trials=5, trial=0)).is_trial

    def test_dense(self):
        assert records.dense([[0, 1, 3], [1, 1, 2]], 2) == [[0, 3], [0, 2]]

    def test_records_from_before_plugins_were_written_down(self, file):
        change(file, "code", "plugins", value=KeyError)
        assert records.read(file).code.plugins == {}


class TestRefused:
    @pytest.mark.parametrize(("path", "value", "sentence"), [
        (["status"], "done", "status is 'done' instead of one of finished, failed, running"),
        (["failure"], "a reason", "belongs to a failed run"),
        (["status"], "failed", "belongs to a failed run"),
        (["seed"], "1", "seed is '1' instead of a int"),
        (["seed"], True, "seed is True instead of a int"),
        (["seed"], KeyError, "seed is missing"),
        (["sede"], 1, "unknown key sede (did you mean 'seed'"),
        (["results"], [], "finished but has no results"),
        (["results", 0, "weights"], "mean", "weights 'mean'"),
        (["results", 0, "f1"], [0.1, 0.2], "results[0] is not of 3 classes"),
        (["results", 1, "confusion", 0], [6, 2], "results[1] is not of 3 classes"),
        (["results", 1, "confusion", 0], [6, 2, 1], "results[1].confusion does not sum to count"),
        (["results", 1, "groups"], {"v": [[0, 0, 6]]}, "results[1].groups do not sum to confusion"),
        (["results", 1, "groups"], {"v": [[0, 3, 6]]}, "[0, 3, 6] is no [truth, prediction, count] of 3 classes"),
        (["results", 0, "iter"], None, "results[0].iter is None"),
        (["results", 0, "iter"], -1, "results[0].iter has -1, which is no count"),
        (["results", 0, "iter"], 2**63, "results[0].iter is 9223372036854775808, which is no number to work with"),
        # What contradicts the record's own confusion matrix, whose scores are those of `test_the_example_is_right`.
        (["results", 0, "macro_f1"], 7.5, "results[0].macro_f1 is 7.5, but the confusion matrix beside it gives 0.749573"),
        (["results", 0, "macro_f1"], 0.75, "results[0].macro_f1 is 0.75, but the confusion matrix beside it gives 0.749573"),
        (["results", 0, "macro_f1"], float("nan"), "results[0].macro_f1 is nan"),
        (["results", 2, "accuracy"], 0.7, "results[2].accuracy is 0.7, but the confusion matrix beside it gives 0.75"),
        (["results", 2, "accuracy"], float("inf"), "results[2].accuracy is inf"),
        (["results", 2, "balanced_accuracy"], -0.75, "results[2].balanced_accuracy is -0.75, but"),
        (["results", 3, "f1", 1], 0.8, "results[3].f1[1] is 0.8, but the confusion matrix beside it gives 0.615385"),
        (["results", 3, "f1", 1], float("nan"), "results[3].f1[1] is nan"),
        (["results", 0, "confusion", 0], [9, -1, 0], "results[0].confusion has -1, which is no count"),
        (["results", 0, "confusion", 0], [6.5, 1.5, 0], "results[0].confusion[0][0] is 6.5 instead of a int"),
        (["results", 0, "confusion", 0, 0], True, "results[0].confusion[0][0] is True instead of a int"),
        (["results", 0, "count"], 21, "results[0].confusion does not sum to count"),
        (["results", 0, "val_macro_f1"], 1.5, "results[0].val_macro_f1 has 1.5, which is no share in [0, 1]"),
        (["results", 1, "groups"], {"v": [[0, 0, 7], [0, 0, -1]]}, "[0, 0, -1] of a group has -1, which is no count"),
        (["results", 1, "checkpoint"], "best", "results has 2 rows of best ema, smoothed=False"),
        (["results", 1, "metrics"], {"macro_f1": 0.5}, "results[1].metrics has the name 'macro_f1'"),
        (["results", 1, "metrics"], {"kappa": "0.5"}, "results[1].metrics.kappa is '0.5' instead of a float"),
        (["classes"], ["Happy", "Sad", "Happy"], "classes has 'Happy' 2 times"),
        (["classes"], ["Happy", 1, "Sad"], "classes[1] is 1 instead of a str"),
        (["data", "test", "images"], -20, "data.test.images has -20, which is no count"),
        (["data", "test", "class_counts", "Sad"], -5, "data.test.class_counts has -5"),
        (["curves", "val", "macro_f1_ema", 0], float("nan"), "curves.val.macro_f1_ema[0] is nan"),
        (["curves", "val", "macro_f1_ema", 0], 40.0, "curves.val.macro_f1_ema has 40, which is no share"),
        (["curves", "val", "iter"], [100, 50], "curves.val.iter does not ascend"),
        (["curves", "classes", "purity", 0, 0], -0.1, "curves.classes.purity has -0.1, which is no share"),
        (["cost", "train_seconds"], -1.0, "cost.train_seconds is -1.0, below 0"),
        (["cost", "load"], float("inf"), "cost.load is inf"),
        (["curves", "val", "hours"], [0.1], "curves.val.hours has 1 entries instead of 2"),
        (["curves", "classes", "purity"], [[0.1, 0.2]] * 2, "curves.classes.purity is not of 3 classes"),
        (["protocol", "mu"], 3, "protocol_hash is not that of the protocol"),
        (["protocol_hash"], None, "protocol_hash is not that of the protocol"),
        (["data", "test"], [], "data.test is [] instead of an object"),
        (["schema"], "1", "it has no schema"),
    ])  # fmt: skip
    def test_a_damaged_record(self, path, value, sentence, file):
        change(file, *path, value=value)
        with pytest.raises(UserError) as caught:
            records.read(file)
        assert sentence in str(caught.value)
        assert str(file) in str(caught.value)
        assert "damaged" in str(caught.value)

    @pytest.mark.parametrize("schema", [-1, 0, 3, 10**30])
    def test_another_schema(self, schema, file):
        change(file, "schema", value=schema)
        with pytest.raises(UserError, match=f"has schema {schema}(.|\n)*expected: schema 1 or 2"):
            records.read(file)

    @pytest.mark.parametrize("schema", [1.0, 1.5, True, None, "1", [1]])
    def test_a_schema_that_is_no_whole_number(self, schema, file):
        change(file, "schema", value=schema)
        with pytest.raises(UserError, match="no schema"):
            records.read(file)

    @pytest.mark.parametrize("content", [
        "[" * 100_000, '{"a":' * 100_000, '{"schema": 2, "protocol": ' + '{"a":' * 100_000 + "1" + "}" * 100_001,
        '{"schema": ' + "9" * 5000 + "}",
    ])  # fmt: skip
    def test_nested_too_deeply_or_digits_without_end(self, content, file):
        file.write_text(content)
        with pytest.raises(UserError, match=r"damaged|schema"):
            records.read(file)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'"record"'])
    def test_no_json(self, content, file):
        file.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            records.read(file)

    def test_not_there(self, tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            records.read(tmp_path / "record.json")

    def test_the_older_schema_is_read(self, file):
        change(file, "schema", value=1)
        assert records.read(file).schema == 1

    def test_every_cut_of_the_file_is_refused(self, file):
        whole = file.read_bytes().rstrip()
        for size in range(0, len(whole), 97):
            file.write_bytes(whole[:size])
            with pytest.raises(UserError):
                records.read(file)


class TestSelfConsistency:
    """Scores follow from the record's own confusion matrix, for any matrix; computed with NumPy and scikit-learn."""

    @given(st.data())
    def test_the_scores_are_those_of_scikit_learn(self, data):
        size = data.draw(st.integers(1, 5))
        cells = data.draw(st.lists(st.integers(0, 4), min_size=size * size, max_size=size * size))
        confusion = np.array(cells).reshape(size, size)
        found = scores_of(confusion.tolist())
        truth, predicted = (np.repeat(np.indices((size, size))[i].ravel(), confusion.ravel()) for i in (0, 1))
        right = confusion.diagonal()
        f1 = 2 * right / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)
        assert found["f1"] == pytest.approx(f1.tolist())
        if len(truth):
            labels = range(size)
            own = f1_score(truth, predicted, average="macro", labels=labels, zero_division=0)
            assert found["macro_f1"] == pytest.approx(own)
            assert found["accuracy"] == pytest.approx((truth == predicted).mean())
            recalls = [(predicted[truth == c] == c).mean() for c in set(truth.tolist())]
            assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
        else:
            assert found == {"macro_f1": 0.0, "accuracy": 0.0, "balanced_accuracy": 0.0, "f1": [0.0] * size}

    def test_rounded_scores_are_no_contradiction(self, file):
        change(file, "results", 0, "macro_f1", value=0.7495726)
        assert records.read(file).results[0].macro_f1 == 0.7495726

    def test_other_metrics_and_unknown_numbers_are_read(self, tmp_path, make_record, make_result):
        row = make_result("best", "ema", metrics={"kappa": 0.5, "a|b": None})
        written = make_record(results=[row])
        records.write(written, tmp_path / "r.json")
        assert records.read(tmp_path / "r.json").results[0].metrics == {"kappa": 0.5, "a|b": None}

    @pytest.mark.parametrize("path", [
        ("results", 0, "metrics"), ("results", 0, "groups"), ("results", 0, "smoothed"), ("cost", "load"),
        ("curves", "classes", "purity_count"), ("code", "plugins"),
    ])  # fmt: skip
    def test_older_records_lack_what_was_added_later(self, path, file, make_record):
        change(file, *path, value=KeyError)
        assert records.read(file) == make_record()


class TestReadAll:
    def test_one_that_contradicts_itself_is_named_and_the_others_read(self, tmp_path, make_record):
        for seed in range(3):
            records.write(make_record(seed=seed), tmp_path / f"{seed}.json")
        change(tmp_path / "1.json", "results", 3, "macro_f1", value=7.5)
        found, [skipped] = records.read_all([tmp_path])
        assert [r.seed for r in found] == [0, 2]
        assert skipped.path == tmp_path / "1.json"
        assert skipped.reason == (
            "the record is damaged: results[3].macro_f1 is 7.5, but the confusion matrix beside it gives 0.749573"
        )

    def test_damaged_ones_are_named_and_the_others_read(self, tmp_path, make_record):
        for seed in range(3):
            (tmp_path / f"seed{seed}").mkdir()
            records.write(make_record(seed=seed), tmp_path / f"seed{seed}" / "record.json")
        (tmp_path / "seed1" / "record.json").write_text("{")
        (tmp_path / "seed0" / "other.json").write_text("{}")
        found, skipped = records.read_all([tmp_path])
        assert [r.seed for r in found] == [0, 2]
        [(path, reason)] = skipped
        assert path == tmp_path / "seed1" / "record.json"
        assert "JSON" in reason

    def test_a_folder_of_collected_records(self, tmp_path, make_record):
        for seed in (1, 0):
            records.write(make_record(seed=seed), tmp_path / f"fixmatch-{seed}.json")
        assert [r.seed for r in records.read_all([tmp_path])[0]] == [0, 1]
        twice = [tmp_path / "fixmatch-1.json", tmp_path]
        assert [r.seed for r in records.read_all(twice)[0]] == [1, 0]

    def test_a_place_that_is_not_there(self, tmp_path):
        with pytest.raises(UserError, match="no records"):
            records.read_all([tmp_path / "nowhere"])


def test_a_full_disk_leaves_the_old_record(file, make_record, monkeypatch):
    before = file.read_bytes()

    def replace(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UserError, match="No space left"):
        records.write(make_record(seed=9), file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_reading_needs_nothing_heavy():
    code = (
        "import sys, ferbench.records\n"
        "print([m for m in ('torch', 'mmengine', 'cv2', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_published_records_are_still_read():
    """Of the older schema; every eighth of them, so that a stricter check cannot orphan a published table."""
    places = sorted((Path(__file__).parents[2] / "docs" / "results").rglob("records/*.json"))
    assert len(places) >= 187
    assert {records.read(place).schema for place in places[::8]} == {1}
