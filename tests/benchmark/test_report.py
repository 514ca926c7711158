"""The report against numbers computed here with NumPy, its pages as a reader's program sees them, and bad input."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import made_up_records as made_up
import numpy as np
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from ferbench import records
from ferbench.benchmark.report import Options, watch, write_report
from ferbench.benchmark.report.build import build
from ferbench.benchmark.report.gather import Row, gather, place_of
from ferbench.benchmark.report.pages import Block, Pages, inline_svg, latex, sheet
from ferbench.benchmark.report.pictures import Panel, Picture, figure_of
from ferbench.benchmark.report.pictures.panel import over_seeds
from ferbench.benchmark.report.pseudo_labels import tail_mean
from ferbench.benchmark.report.table import MINUS, NONE, TIMES, join_labels, time_unit
from ferbench.benchmark.statistics import group_interval
from ferbench.cli import main
from ferbench.errors import UserError
from ferbench.records.protocol import hash_of
from ferbench.viz.style import to_svg

BEST_EMA = Row("best", "ema")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Folder and finished runs of a grid with one failed run, one that goes on, and a damaged record."""
    folder = tmp_path_factory.mktemp("grid")
    return folder, made_up.write_grid(folder)


@pytest.fixture(scope="module")
def report(grid):
    return build(gather([grid[0]]))


@pytest.fixture(scope="module")
def pages(grid, tmp_path_factory):
    """The folder of a report."""
    out = tmp_path_factory.mktemp("report")
    found = write_report([grid[0]], out, Options(latex=True))
    assert [p.name for p in found] == ["report.md", "report.html", "table.tex"]
    return out


def report_on(runs, tmp_path):
    for i, run in enumerate(runs):
        folder = tmp_path / "runs" / f"{i:03d}"
        folder.mkdir(parents=True)
        records.write(run, folder / records.NAME)
    return build(gather([tmp_path / "runs"]))


def table(page, name):
    tables = [t for block in page.blocks for t in block.tables] + list(page.folded)
    return next(t for t in tables if t.name == name)


def cells(found, row, column):
    """The cell of a row (by its head) and a column (by its title)."""
    titles = [c.title for c in found.columns]
    line = next(line for line in found.rows if line[0].text == row)
    return line[titles.index(column)]


def scores(runs, label, per_class, row=BEST_EMA, metric="macro_f1"):
    chosen = [r for r in runs if r.label == label and r.cell.budget["split.per_class"] == per_class]
    return np.array([getattr(r.result(*row), metric) for r in chosen])


def test_the_table_of_scores_has_every_column_by_itself(grid, report):
    page = report.sections[0]
    found = table(page, "scores")
    assert page.title == "fer2013, per_class 25"
    for title, row in {
        "last raw": Row("last", "raw"), "last EMA": Row("last", "ema"), "best raw": Row("best", "raw"),
        "best EMA ★": BEST_EMA,
    }.items():  # fmt: skip
        for label in made_up.ALGORITHMS:
            values = 100 * scores(grid[1], label, 25, row)
            assert cells(found, label, title).text == f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def test_the_rows_are_sorted_and_the_best_of_a_column_is_marked(grid, report):
    found = table(report.sections[0], "scores")
    means = {label: scores(grid[1], label, 25).mean() for label in made_up.ALGORITHMS}
    assert [line[0].text for line in found.rows] == sorted(means, key=means.get, reverse=True)
    marked = [line[0].text for line in found.rows if cells(found, line[0].text, "best EMA ★").mark == "best"]
    assert marked == [max(means, key=means.get)]


def test_differences_are_paired_by_seed(grid, report):
    found = table(report.sections[0], "scores")
    differences = 100 * (scores(grid[1], "DTM", 25) - scores(grid[1], "FixMatch", 25))
    half = 4.3027 * differences.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom
    cell = cells(found, "DTM", "to FixMatch")
    assert cell.text == f"{differences.mean():+.2f}"
    low, high = (float(v) for v in cell.small.replace(MINUS, "-").strip("[]").split(","))
    assert (low, high) == (
        pytest.approx(differences.mean() - half, abs=0.006),
        pytest.approx(differences.mean() + half, abs=0.006),
    )
    assert cells(found, "FixMatch", "verdict").text == "reference"
    assert cells(found, "FixMatch", "to FixMatch").sort is None


def test_verdicts_in_words(tmp_path):
    """Against the reference: 10 points more, 10 less, noise, and two seeds only; small seed noise everywhere."""
    noise, base = [0.001, -0.002, 0.0, 0.002, -0.001], [made_up.make("FixMatch", 25, s) for s in range(5)]
    runs = list(base)
    for label, lift in (("Up", 0.1), ("Down", -0.1), ("Same", 0.0)):
        runs += [replace(made_up.lifted(r, lift + e), label=label) for r, e in zip(base, noise, strict=True)]
    runs += [replace(r, label="New") for r in base[:2]]
    page = report_on(runs, tmp_path).sections[0]
    found = table(page, "scores")
    verdicts = {label: cells(found, label, "verdict").text for label in ("Up", "Down", "Same", "New")}
    assert verdicts == {"Up": "▲ better", "Down": "▼ worse", "Same": "≈ within noise", "New": "too few seeds"}
    assert cells(found, "New", "verdict").small == "(2 seeds: few)"
    assert cells(found, "Up", "verdict").small == ""
    assert page.lead.text.endswith(
        "Against FixMatch: better: Up; worse: Down; within noise: Same; too few seeds: New."
    )


def test_few_seeds_are_said_to_be_few(report, tmp_path):
    warnings = " ".join(n.text for n in report.sections[0].notes if n.warning)
    assert "With 3 seeds the sign-flip test cannot fall below p = 0.250" in warnings
    assert (
        "That takes 6 seeds, and 8 after Holm's correction over 4" in warnings
    )  # 4 * 2 / 2^8 < .05 < 4 * 2 / 2^7
    assert "Every algorithm has 3 seeds, which are few" in warnings
    assert "at most 75 % of cases" in warnings
    one = report_on([made_up.make("DTM", 25, 0)], tmp_path).sections[0]
    assert any(n.text == "Every algorithm has 1 seed, which is no result." for n in one.notes)


def test_six_seeds_are_not(tmp_path):
    runs = [made_up.make(a, 25, s) for a in ("FixMatch", "DTM") for s in range(6)]
    assert not [n for n in report_on(runs, tmp_path).sections[0].notes if n.warning]


def test_unequal_seeds_are_warned_of_and_only_shared_ones_ranked(tmp_path):
    runs = [made_up.make("FlexMatch", b, s) for b in (25, 100) for s in (0, 1)]
    runs += [made_up.lifted(r, -0.1) for r in (made_up.make("DTM", b, s) for b in (25, 100) for s in (0, 1))]
    worse = list(runs)
    # With this one DTM's mean is the higher one.
    runs += [made_up.lifted(made_up.make("DTM", b, 4), 0.4) for b in (25, 100)]
    report = report_on(runs, tmp_path)
    warned = " ".join(n.text for n in report.sections[0].notes if n.warning)
    assert (
        "different seeds: 0, 1 (FlexMatch); 0, 1, 4 (DTM). Differences are over the seeds that both have."
        in warned
    )
    found = next(t for t in report.overview if t.name == "summary")
    assert [line[0].text for line in found.rows] == ["FlexMatch", "DTM"]
    assert cells(found, "DTM", "fer2013, per_class 25").sort == pytest.approx(scores(worse, "DTM", 25).mean())
    assert any("only the seeds that all of them have count here" in n for n in report.overview_notes)


def test_without_a_shared_seed_nothing_is_ranked(tmp_path):
    runs = [made_up.make(a, b, s) for b in (25, 100) for s, a in enumerate(("FlexMatch", "DTM"))]
    assert not [t for t in report_on(runs, tmp_path).overview if t.name == "summary"]


def test_what_did_not_finish_is_shown_with_the_reason(report):
    found = next(t for t in report.overview if t.name == "unfinished")
    said = [" | ".join(cell.text for cell in line) for line in found.rows]
    assert "UDA, seed 1 | failed | fer2013, per_class 100 | the loss or the weights became NaN" in said
    assert any(
        s.startswith("UDA, seed 2 | running | fer2013, per_class 100 | iteration 3,000 of 6,000")
        for s in said
    )
    assert any(s.startswith("record.json | skipped | ") and "damaged" in s for s in said)
    assert len(said) == 3
    assert report.state.startswith(
        "30 runs of 5 algorithms under 2 protocols: 28 finished, 1 failed, 1 running."
    )
    assert cells(table(report.sections[1], "scores"), "UDA", "seeds").text == "1 of 3"
    assert cells(table(report.sections[1], "scores"), "UDA", "verdict").text == "too few seeds"


def test_a_run_that_failed_before_its_protocol_was_known(failed_record, tmp_path):
    found = report_on([made_up.make("DTM", 25, 0), failed_record], tmp_path)
    [line] = next(t for t in found.overview if t.name == "unfinished").rows
    assert [c.text for c in line] == ["FixMatch, seed 0", "failed", "unknown data", "out of memory"]
    assert len(found.sections) == 1


def test_protocols_are_never_mixed_and_the_keys_that_differ_are_named(report, tmp_path):
    [line] = next(t for t in report.overview if t.name == "differences").rows
    assert [c.text for c in line] == ["split.per_class", "25", "100"]
    run = made_up.make("DTM", 25, 0)
    longer = {**run.protocol, "max_iters": 9000}
    other = replace(run, protocol=longer, protocol_hash=hash_of(longer))
    found = report_on([run, other], tmp_path)
    titles = sorted(f"fer2013, per_class 25 (protocol {r.protocol_hash[:8]})" for r in (run, other))
    assert sorted(p.title for p in found.sections) == titles
    [line] = next(t for t in found.overview if t.name == "differences").rows
    assert line[0].text == "max_iters"
    assert {c.text for c in line[1:]} == {"6000", "9000"}
    assert len({p.anchor for p in found.sections}) == 2


def test_records_of_an_older_schema_are_reported_apart_and_marked(tmp_path):
    """Although their protocol is the same to the letter; the older ones get the same table as before."""
    runs = [made_up.make("FixMatch", 25, s) for s in range(2)]
    old = [replace(run, schema=1) for run in runs]
    report = report_on([*runs, *old], tmp_path)
    assert "2 protocols" in report.state
    marked = [page for page in report.sections if "(records of the older schema 1)" in page.facts]
    assert len(report.sections) == 2
    assert len(marked) == 1


def test_parts_of_another_type_and_lists_are_one_difference_each(tmp_path):
    """A second data set differs in all its keys: its name and size say it."""
    run = made_up.make("DTM", 25, 0)
    data = [
        {
            "classes": ["a", "b"],
            "train": [{"type": "RAFDB", "images": 12271, "root": "x", "counts": {"a": 1}}],
        },
        {"classes": ["c", "d", "e"], "train": [{"type": "ExpW", "images": 91793, "mode": "y"}]},
        {"classes": ["c", "d", "e"], "train": [{"type": "ExpW", "images": 7, "mode": "y"}]},
    ]

    def rows_of(*protocols, name):
        runs = [
            replace(run, protocol=p, protocol_hash=hash_of(p), cell=replace(run.cell, dataset=str(i)))
            for i, p in enumerate(protocols)
        ]
        lines = next(t for t in report_on(runs, tmp_path / name).overview if t.name == "differences").rows
        return {line[0].text: [cell.text for cell in line[1:]] for line in lines}

    assert rows_of(*data, name="types") == {
        "classes": ["a, b", "c, d, e", "c, d, e"],
        "train.0": ["RAFDB, 12,271 images", "ExpW, 91,793 images", "ExpW, 7 images"],
    }
    assert rows_of(*data[1:], name="one type") == {"train.0.images": ["91793", "7"]}


@pytest.mark.parametrize("alike", [True, False])
def test_a_data_set_more_is_one_difference(alike, tmp_path):
    """Where all that have it have the same one; else each key by which they differ."""

    def of(per_class, extra):
        run = made_up.make("DTM", per_class, 0)
        data = {**run.protocol["data"], "extra": extra}
        protocol = {**run.protocol, "data": data}
        return replace(run, protocol=protocol, protocol_hash=hash_of(protocol))

    faces = [{"type": "ImageFolder", "images": 13233, "extensions": [".jpg", ".png"]}]
    others = faces if alike else [{**faces[0], "images": 7}]
    found = report_on([of(25, []), of(50, faces), of(100, others)], tmp_path)
    lines = next(t for t in found.overview if t.name == "differences").rows
    rows = {line[0].text: [cell.text for cell in line[1:]] for line in lines}
    assert rows.pop("split.per_class") == ["25", "50", "100"]
    if alike:
        assert rows == {"data.extra": ["[]", *["ImageFolder, 13,233 images"] * 2]}
    else:
        assert rows["data.extra.0.images"] == ["null", "13233", "7"]
        assert rows["data.extra.0.extensions.1"] == ["null", ".png", ".png"]


def test_a_section_is_not_named_by_an_option_that_only_made_way(grid):
    cell = replace(grid[1][0].cell, budget={"split.per_class": None, "split.total": 800})
    assert place_of(replace(grid[1][0], cell=cell)) == "fer2013, total 800"


def test_runs_of_a_seed_with_other_images_are_not_compared(tmp_path):
    runs = [made_up.make(a, 25, s) for a in ("FixMatch", "DTM") for s in range(3)]
    runs[4] = replace(runs[4], split_hash="f" * 64)
    page = report_on(runs, tmp_path).sections[0]
    assert page.notes[0].warning
    assert "the runs of seed 1 have 2 different splits" in page.notes[0].text
    assert [c.title for c in table(page, "scores").columns][:4] == [
        "algorithm",
        "seeds",
        "best EMA ★",
        "last raw",
    ]


def test_one_label_with_other_parameters_is_another_algorithm(tmp_path):
    runs = [made_up.make("DTM", 25, s) for s in range(2)]
    runs += [replace(r, algorithm={**r.algorithm, "beta": 0.9}) for r in runs]
    found = table(report_on(runs, tmp_path).sections[0], "scores")
    assert {line[0].text for line in found.rows} == {"DTM (beta=0.97)", "DTM (beta=0.9)"}


def test_a_run_that_is_there_twice_counts_once_and_is_named(tmp_path):
    run = made_up.make("DTM", 25, 0)
    later = replace(made_up.lifted(run, -0.2), written="2026-01-02T00:00:00+00:00")
    found = report_on([later, run, made_up.failed(run, "killed")], tmp_path)
    score = cells(table(found.sections[0], "scores"), "DTM", "best EMA ★")
    assert score.text == f"{100 * later.result(*BEST_EMA).macro_f1:.2f}"
    [line] = next(t for t in found.overview if t.name == "unfinished").rows
    assert [c.text for c in line][:2] == ["DTM, seed 0", "repeated"]


def test_tuning_trials_are_no_results(tmp_path):
    runs = [made_up.make(a, 25, s) for a in ("FixMatch", "DTM") for s in range(2)]
    runs = [replace(r, cell=replace(r.cell, trials=4)) for r in runs]
    trials = [
        replace(runs[0], cell=replace(runs[0].cell, trial=k), algorithm={"threshold": k}) for k in range(4)
    ]
    found = report_on([*runs, *trials], tmp_path)
    assert cells(table(found.sections[0], "scores"), "FixMatch", "seeds").text == "2"
    assert "4 tuning trials" in found.state
    assert any(n.text.endswith("4 trials for each algorithm.") for n in found.sections[0].notes)
    uneven = [replace(runs[0], cell=replace(runs[0].cell, trials=9)), *runs[2:]]
    noted = report_on(uneven, tmp_path / "uneven").sections[0].notes
    assert any(
        n.warning and "FixMatch 9, DTM 4" in n.text.replace("DTM 4, FixMatch 9", "FixMatch 9, DTM 4")
        for n in noted
    )


def test_runs_of_other_code_or_hardware_are_warned_of(tmp_path):
    runs = [made_up.make("DTM", 25, s) for s in range(2)]
    runs[1] = replace(
        runs[1], code=records.Code("0.2.0", "1" * 40, True), hardware=records.Hardware("other", 8, "a GPU", 2)
    )
    noted = " ".join(n.text for n in report_on(runs, tmp_path).sections[0].notes if n.warning)
    assert "2 versions of the code: 0.1.0 (00000000) (1 runs); 0.2.0 (11111111, changed) (1 runs)" in noted
    assert "hours and images/s cannot be compared" in noted
    assert "differed from its commit" in noted


def test_an_algorithm_of_two_versions_of_a_plugin_is_warned_of(tmp_path):
    runs = [
        replace(made_up.make("DTM", 25, s), label=label)
        for label in ("DTM", "Mine", "Older")
        for s in range(3)
    ]
    versions = ["sha256 aa", "sha256 aa", "sha256 bb"]
    runs[3:6] = [
        replace(r, code=replace(r.code, plugins={"mine": v}))
        for r, v in zip(runs[3:6], versions, strict=True)
    ]
    runs[6] = replace(runs[6], code=replace(runs[6].code, plugins={"mine": "sha256 aa"}))
    noted = [n.text for n in report_on(runs, tmp_path).sections[0].notes if n.warning and "plug-in" in n.text]
    assert noted == [
        "The runs of Mine were made with 2 versions of a plug-in: mine sha256 aa (2 runs); mine sha256 bb (1 runs). "
        "Their mean is of no one method.",
        "The runs of Older were made with 2 versions of a plug-in: an unknown version (2 runs); mine sha256 aa (1 runs). "
        "Their mean is of no one method.",
    ]


def test_the_worst_class_is_marked(grid, report):
    found = table(report.sections[0], "per_class")
    runs = [r for r in grid[1] if r.label == "UDA" and r.cell.budget["split.per_class"] == 25]
    f1 = np.array([r.result(*BEST_EMA).f1 for r in runs])
    marked = [c.title for c in found.columns[1:] if cells(found, "UDA", c.title).mark == "worst"]
    assert marked == [made_up.CLASSES[f1.mean(axis=0).argmin()]]
    values = 100 * f1[:, 3]
    assert cells(found, "UDA", "Happy").text == f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def test_the_cost(report):
    found = table(report.sections[0], "cost")
    # 6,000 iterations of 0.36 and 0.10 and 0.34 s; 16 + 32 images each
    assert cells(found, "DTM", "minutes").text == "36.00 ± 0.00"
    assert cells(found, "DTM", f"{TIMES} Supervised").text == "3.60"
    assert cells(found, "DTM", f"{TIMES} FixMatch").text == "1.06"
    assert cells(found, "DTM", "images").text == "288,000"
    assert cells(found, "Supervised", "images").text == "96,000"
    assert cells(found, "DTM", "waits for data").text == "2.0 %"


def test_labels_in_a_row_can_be_told_apart():
    assert join_labels(["DTM", "UDA"]) == "DTM, UDA"
    assert join_labels(["DTM", "DTM, one view"]) == "DTM · DTM, one view"


def test_short_runs_are_told_in_minutes_and_long_ones_in_hours():
    assert time_unit([0.1, 1.99]) == ("minutes", 60)
    assert time_unit([0.1, 2.0]) == ("hours", 1)


def test_the_pseudo_labels_at_the_end(grid, report):
    found = table(report.sections[0], "pseudo_labels")
    runs = [r for r in grid[1] if r.label == "DTM" and r.cell.budget["split.per_class"] == 25]
    # Logged every 100 of 6,000 iterations: the last tenth are six entries.
    late = [r.curves.classes for r in runs]
    assert late[0].iter[-6:] == [5500, 5600, 5700, 5800, 5900, 6000]
    shares = np.mean([np.array(c.pseudo_label_share)[-6:].mean(axis=0) for c in late], axis=0)
    hidden = np.array([(made_up.SHARES * 24000).astype(int)[i] for i in range(7)], dtype=float)
    hidden /= hidden.sum()
    for column, share in {
        "utilization": np.mean([c.utilization_mean[-6:] for c in late]),
        "purity": np.mean([c.purity_mean[-6:] for c in late]),
        "Angry": shares[0],
        "Neutral": shares[6],
        "wrong shares": np.maximum(shares - hidden, 0).sum(),
    }.items():
        assert cells(found, "DTM", column).text == f"{100 * share:.1f}"
    threshold = np.mean([np.array(c.threshold)[-6:].mean(axis=0) for c in late], axis=0)
    assert (
        cells(found, "DTM", "thresholds").text
        == f"{100 * threshold.min():.1f} to {100 * threshold.max():.1f}"
    )
    assert cells(found, "FixMatch", "thresholds").text == "95.0"
    assert cells(found, "UDA", "thresholds").text == NONE
    assert cells(found, "hidden labels", "Happy").text == f"{100 * hidden[3]:.1f}"
    assert "Supervised" not in [line[0].text for line in found.rows]


def test_the_end_of_a_run_is_what_is_known_of_its_last_tenth(grid):
    curves = replace(grid[1][-1].curves.classes, iter=[10, 80, 91, 100])
    values = [[0.0, 0.0, 0.0], [1.0, 0.0, None], [0.2, None, None], [0.4, 0.6, None]]
    np.testing.assert_allclose(tail_mean(curves, values), [0.3, 0.6, np.nan])
    assert tail_mean(curves, [0.0, 0.0, None, 0.5]) == 0.5


def test_what_a_target_took(grid, report):
    found = table(report.sections[0], "targets")
    runs = [r for r in grid[1] if r.label == "DTM" and r.cell.budget["split.per_class"] == 25]
    first = [next(i for i, f1 in enumerate(r.curves.val.macro_f1_ema) if f1 >= 0.3) for r in runs]
    images = np.mean([500 * (i + 1) * 48 for i in first])
    assert cells(found, "DTM", "30 %").text == f"{images:,.0f}"
    assert (
        cells(found, "DTM", "30 %").small == f"{images / 48 * 0.36 / 60:.2f} minutes"
    )  # 0.36 s an iteration
    assert cells(found, "Supervised", "50 %").text == "never"


def test_the_summary_ranks_over_sections(grid, report):
    found = next(t for t in report.overview if t.name == "summary")
    shared = {25: 3, 100: 1}  # two of UDA's runs have not finished
    means = np.array(
        [[scores(grid[1], a, b)[: shared[b]].mean() for a in made_up.ALGORITHMS] for b in shared]
    )
    ranks = dict(
        zip(made_up.ALGORITHMS, ((-means).argsort(axis=1).argsort(axis=1) + 1).mean(axis=0), strict=True)
    )
    assert {line[0].text: line[-1].text for line in found.rows} == {a: f"{r:.2f}" for a, r in ranks.items()}
    assert "Not all runs have finished: ranks may change." in report.overview_notes


def test_ranks_are_tested_only_over_test_sets_that_are_different(grid, report, tmp_path):
    told = " ".join(report.overview_notes)
    assert "of one test set, so not independent" in told
    assert "χ²" not in told

    def of_another_test_set(run):
        if run.cell.budget["split.per_class"] == 25:
            return run
        data = {**run.protocol["data"], "test": {"type": "RAFDB", "images": 3068}}
        protocol = {**run.protocol, "data": data}
        return replace(run, protocol=protocol, protocol_hash=hash_of(protocol))

    told = " ".join(report_on([*map(of_another_test_set, grid[1])], tmp_path).overview_notes)
    assert "not independent" not in told
    # Nemenyi: q(.05, 5) = 2.728 (Demšar 2006, table 5)
    assert f"critical difference {2.728 * np.sqrt(5 * 6 / 12):.2f}" in told
    assert "Friedman's test that all 5 rank alike" in told


def test_the_summary_shows_algorithms_that_not_all_sections_have(grid, tmp_path):
    runs = [r for r in grid[1] if r.label != "UDA" or r.cell.budget["split.per_class"] == 25]
    report = report_on(runs, tmp_path)
    found = next(t for t in report.overview if t.name == "summary")
    last = found.rows[-1]
    values = 100 * scores(grid[1], "UDA", 25)
    assert [cell.text for cell in last] == [
        "UDA",
        f"{values.mean():.2f} ± {values.std(ddof=1):.2f}",
        NONE,
        NONE,
    ]
    assert last[1].small == ""
    assert sorted(line[-1].text != NONE for line in found.rows) == [False, True, True, True, True]
    assert "Ranked are the 4 algorithms that all sections have." in report.overview_notes


def test_another_row_metric_and_reference(grid):
    options = Options(reference="Supervised", metric="accuracy", row="last_raw")
    page = build(gather([grid[0]]), options).sections[0]
    found = table(page, "scores")
    values = 100 * scores(grid[1], "DTM", 25, Row("last", "raw"), "accuracy")
    assert cells(found, "DTM", "last raw ★").text == f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
    base = 100 * scores(grid[1], "Supervised", 25, Row("last", "raw"), "accuracy")
    assert cells(found, "DTM", "to Supervised").text == f"{(values - base).mean():+.2f}"


def test_seed_by_seed_with_what_the_unlabeled_images_bring(grid, report):
    found = table(report.sections[0], "by_seed")
    own, base = (100 * scores(grid[1], label, 25) for label in ("DTM", "Supervised"))
    assert [cells(found, "DTM", f"seed {i}").text for i in range(3)] == [f"{v:.2f}" for v in own]
    gain = own - base
    assert cells(found, "DTM", "to Supervised").text == f"{gain.mean():+.2f}"
    half = 4.3027 * gain.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom
    low, high = map(
        float, cells(found, "DTM", "to Supervised").small.replace(MINUS, "-").strip("[]").split(",")
    )
    assert (low, high) == (
        pytest.approx(gain.mean() - half, abs=0.006),
        pytest.approx(gain.mean() + half, abs=0.006),
    )
    assert cells(found, "Supervised", "to Supervised").text == NONE
    for column, metric in (("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy")):
        values = 100 * scores(grid[1], "DTM", 25, metric=metric)
        assert cells(found, "DTM", column).text == f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
    order = [line[0].text for line in table(report.sections[0], "scores").rows]
    assert [line[0].text for line in found.rows] == order


def test_seed_by_seed_leaves_out_what_is_not_there_or_elsewhere(grid, tmp_path):
    """No difference to the reference once more, none to nothing, none of other images; no column for each of many seeds."""
    page = build(gather([grid[0]]), Options(reference="Supervised")).sections[0]
    assert "to Supervised" not in [c.title for c in table(page, "by_seed").columns]
    alone = [made_up.make("DTM", 25, s) for s in range(11)]
    titles = [c.title for c in table(report_on(alone, tmp_path).sections[0], "by_seed").columns]
    assert titles == ["algorithm", "accuracy", "balanced accuracy"]
    unpaired = [made_up.make("Supervised", 25, 0), replace(made_up.make("DTM", 25, 0), split_hash="other")]
    page = report_on(unpaired, tmp_path / "unpaired").sections[0]
    assert "to Supervised" not in [c.title for c in table(page, "by_seed").columns]


def test_intervals_by_video_where_the_records_have_them(tmp_path):
    runs = [made_up.make(a, 25, s, videos=8) for a in ("FixMatch", "DTM") for s in range(3)]
    page = report_on(runs, tmp_path).sections[0]
    stacks = {
        label: np.array([
            [records.dense(cells, 7) for _, cells in sorted(run.result(*BEST_EMA).groups.items())]
            for run in runs if run.label == label
        ])
        for label in ("FixMatch", "DTM")
    }  # fmt: skip
    own, difference = group_interval(stacks["DTM"]), group_interval(stacks["DTM"], stacks["FixMatch"])
    cell = cells(table(page, "scores"), "DTM", "by video")
    assert cell.text == f"[{100 * own.low:.2f}, {100 * own.high:.2f}]"
    assert cell.small.replace(MINUS, "-") == f"[{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"
    assert any("draw test videos anew" in n.text for n in page.notes)


def test_smoothed_scores_have_columns_of_their_own_where_records_have_them(tmp_path):
    """The comparison stays that of the single frames; what an older run lacks is left open."""
    runs = [made_up.make(a, 25, s, videos=8) for a in ("FixMatch", "DTM", "UDA") for s in range(3)]
    better = {id(run): made_up.lifted(run, 0.04) for run in runs}
    smoothed = [
        replace(run, results=run.results + [replace(r, smoothed=True) for r in better[id(run)].results])
        if run.label != "UDA" else run
        for run in runs
    ]  # fmt: skip
    page = report_on(smoothed, tmp_path / "new").sections[0]
    old = report_on(runs, tmp_path / "old").sections[0]
    found, before = table(page, "scores"), table(old, "scores")
    titles = [c.title for c in found.columns]
    assert titles[:-4] == [c.title for c in before.columns]
    assert titles[-4:] == [
        "last raw, smoothed",
        "last EMA, smoothed",
        "best raw, smoothed",
        "best EMA, smoothed",
    ]
    for label in ("FixMatch", "DTM"):
        values = 100 * scores(list(better.values()), label, 25)
        assert cells(found, label, titles[-1]).text == f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
    assert cells(found, "UDA", titles[-1]).sort is None
    for line, same in zip(found.rows, before.rows, strict=True):
        assert line[: len(before.columns)] == same
    assert [c.title for c in found.columns if c.paper != "no" and "smoothed" in c.title] == [titles[-1]]


def test_series_of_seeds_that_got_unequally_far():
    long = np.array([10, 20, 30, 40]), np.array([0.1, 0.2, 0.3, 0.4])
    short = np.array([10, 20]), np.array([0.3, np.nan])
    coarse = np.array([10, 30]), np.array([0.2, 0.6])
    band = over_seeds([long, short, coarse])
    assert band.iterations.tolist() == [10, 20, 30, 40]
    np.testing.assert_allclose(band.mean, [0.2, (0.2 + 0.4) / 2, 0.45, 0.4])
    np.testing.assert_allclose(band.low, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(band.high, [0.3, 0.4, 0.6, 0.4])
    assert band.whole.tolist() == [True, True, False, False]


def test_no_picture_of_what_hidden_labels_would_tell_where_none_is_known(tmp_path):
    run = made_up.make("DTM", 25, 0)
    known = run.curves.classes
    nothing = [[None] * len(run.classes) for _ in known.iter]
    classes = replace(known, purity=nothing, purity_mean=[None] * len(known.iter))
    data = {**run.data, "unlabeled": replace(run.data["unlabeled"], class_counts={})}
    run = replace(run, curves=replace(run.curves, classes=classes), data=data)
    page = report_on([run], tmp_path).sections[0]
    pictures = {p.name: p.title for block in page.blocks for p in block.pictures}
    assert "purity" not in pictures
    assert {"threshold", "utilization"} < set(pictures)
    assert pictures["pseudo_labels"] == "Classes of the pseudo-labels"


def test_pictures_say_in_words_what_they_show(report):
    pictures = {p.name: p for block in report.sections[0].blocks for p in block.pictures}
    assert set(pictures) == {"confusion", "validation", "threshold", "utilization", "purity", "pseudo_labels"}
    assert [p.title for p in pictures["threshold"].panels] == ["DTM", "FixMatch", "FlexMatch"]
    assert pictures["threshold"].note.endswith("Without any: Supervised, UDA.")
    [fixed] = [p for p in pictures["threshold"].panels if p.title == "FixMatch"]
    assert "at the end Angry 95 %, Disgust 95 %" in fixed.alt
    assert "recall Angry" in pictures["confusion"].panels[0].alt


class Page(HTMLParser):
    """What a browser must not have to repair: order of tags; and what a reader who does not see needs."""

    VOID = {"meta", "br", "link", "img", "input", "hr"}

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.record(tag, dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self.open, f"<{tag}/> is closed only in SVG"
        self.record(tag, dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def record(self, tag, attributes):
        self.tags.append((tag, attributes, list(self.open)))
        if "id" in attributes:
            self.ids.append(attributes["id"])


@pytest.fixture(scope="module")
def html(pages):
    return (pages / "report.html").read_text()


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_needs_nothing_beside_it(html, page):
    assert "http" not in re.sub(r'<meta http-equiv="[^"]*"', "", html)
    assert "@import" not in html
    for tag, attributes, _ in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed")
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_ids_are_unique_and_every_reference_finds_one(html, page):
    assert len(page.ids) == len(set(page.ids))
    targets = [a["href"][1:] for _, a, _ in page.tags if (a.get("href") or "").startswith("#")]
    targets += re.findall(r"url\(#([^)]*)\)", html)
    assert len(targets) > 100
    assert set(targets) <= set(page.ids)


def test_tables_and_pictures_can_be_read_without_eyes(page):
    tags = [t for t, _, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 10
    assert all("scope" in a for t, a, _ in page.tags if t == "th")
    pictures = [a for t, a, parents in page.tags if t == "svg" and "figure" in parents]
    assert len(pictures) == 2 * (5 + 2 + 3 + 4 + 4 + 4)
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in pictures)
    assert all(
        a["aria-hidden"] == "true" for t, a, parents in page.tags if t == "svg" and "figure" not in parents
    )
    [root] = [a for t, a, _ in page.tags if t == "html"]
    assert root == {"lang": "en"}
    assert any(a.get("name") == "viewport" for t, a, _ in page.tags if t == "meta")


def test_every_number_that_sorts_is_a_number(page):
    keys = [
        a["data-sort"] for t, a, _ in page.tags if t == "td" and "number" in a["class"] and "data-sort" in a
    ]
    assert len(keys) > 100
    assert all(np.isfinite(float(key)) for key in keys)


def many(count, seeds=1):
    """Runs of Supervised and of so many other algorithms, one better than the next; the names of those, best first."""
    levels = {f"Algorithm {i:02d}": 0.3 + 0.3 * (count - i) / count for i in range(count)}
    algorithms = {k: (level, 0.3, {"type": "UDA", "temperature": level}) for k, level in levels.items()}
    algorithms["Supervised"] = (0.2, 0.1, {"type": "Supervised"})
    return [made_up.make(a, 25, s, 0, algorithms) for a in algorithms for s in range(seeds)], list(levels)


def last_validation(runs):
    return {run.label: run.curves.val.macro_f1_ema[-1] for run in runs}


@pytest.mark.filterwarnings("error")
def test_forty_five_algorithms_are_drawn(tmp_path):
    runs, _ = many(44)
    page = report_on(runs, tmp_path)
    pictures = {p.name: p for block in page.sections[0].blocks for p in block.pictures}
    last = last_validation(runs)
    order = sorted(last, key=last.get, reverse=True)
    grey = {label for label in order[6:] if label != "Supervised"}
    curves = pictures["validation"]
    assert set(curves.legend) == {*order[:6], "Supervised", "38 others"}
    assert len({style["color"] for style in curves.legend.values()}) == 8
    [listed] = re.findall(r"grey and without a band: (.*?)\.", curves.note)
    assert set(listed.split(", ")) == grey
    assert "the 6 algorithms with the highest last value and Supervised, the reference" in curves.note
    assert all(label in curves.panels[0].alt for label in last)
    lines = [line.get_color().casefold() for line in figure_of(curves, curves.panels[0]).axes[0].lines]
    assert Counter(lines) == {**{s["color"].casefold(): 1 for s in curves.legend.values()}, "#6e6e6e": 38}
    assert len(pictures["confusion"].panels) == 45
    # The panels, which are alike, one of each kind; the whole page would take half a minute.
    short = [replace(p, panels=p.panels[:2]) for p in pictures.values()]
    blocks = [Block("Pictures", pictures=short)]
    section = replace(page.sections[0], blocks=blocks)
    files = Pages().render(replace(page, sections=[section]))
    assert len(files) == len(pictures) + 2
    for name, text in files.items():
        if name.endswith(".svg"):
            ElementTree.fromstring(text)


@pytest.mark.filterwarnings("error")
def test_a_dozen_algorithms_all_have_colours_and_long_names_are_whole_in_the_legend(tmp_path):
    runs, names = many(11)
    long = "Algorithm of a paper (threshold=0.95, beta=0.8)"
    runs = [replace(r, label=long) if r.label == names[0] else r for r in runs]
    page = report_on(runs, tmp_path)
    [curves] = [p for block in page.sections[0].blocks for p in block.pictures if p.name == "validation"]
    assert set(curves.legend) == {long, *names[1:], "Supervised"}
    assert "grey" not in curves.note
    figure = figure_of(curves, curves.panels[0])
    written = {text.get_text() for text in figure.axes[0].texts}
    assert written == {"Algorithm o… beta=0.8)", *names[1:], "Supervised"}
    assert to_svg(figure)
    assert figure.axes[0].get_position().width > 0.4


@pytest.mark.parametrize(
    "title", ["DTM", "FixMatch 0.8, label shift in training only", "MMMM mixed with a long name (a=1, b=2)"]
)
def test_titles_of_panels_do_not_run_into_each_other(title):
    panel = Panel(title, "", lambda axes: None)
    picture = Picture("name", "Title", "", [panel, panel])
    drawn = sheet(picture, [to_svg(figure_of(picture, panel))] * 2)
    sizes = re.findall(rf'font-size="([\d.]+)" font-weight="bold">{re.escape(title)}<', drawn)
    assert len(sizes) == 2
    font = FontProperties(family="DejaVu Sans", weight="bold")
    width = TextPath((0, 0), title, size=float(sizes[0]), prop=font).get_extents().width
    assert width < 72 * picture.size[0] - 6


def test_one_line_where_all_classes_share_a_threshold(report):
    [picture] = [p for b in report.sections[0].blocks for p in b.pictures if p.name == "threshold"]
    drawn = {p.title: len(figure_of(picture, p).axes[0].lines) for p in picture.panels}
    assert drawn == {"DTM": 7, "FixMatch": 1, "FlexMatch": 7}
    assert "One black line: the same for all classes." in picture.note


def test_the_markdown_page_and_its_pictures(pages):
    text = (pages / "report.md").read_text()
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 12
    assert sorted(pictures) == sorted(str(p.relative_to(pages)) for p in (pages / "pictures").iterdir())
    for picture in pictures:
        root = ElementTree.parse(pages / picture).getroot()
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert len(ids) == len(set(ids)) > 0
        panels = root.findall("{http://www.w3.org/2000/svg}svg")
        assert len(panels) == (
            2
            if "validation" in picture
            else 3
            if "threshold" in picture
            else 5
            if "confusion" in picture
            else 4
        )
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        head, rule, *lines = block.splitlines()
        assert re.fullmatch(r"\|(-+:?\|)+", rule)
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in (head, rule, *lines)} == {head.count("|")}
    assert "\n\n\n\n" not in text


def test_the_tables_for_a_paper(pages):
    text = (pages / "table.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 3
    assert text.count("{") == text.count("}")
    assert r"per\_class 25" in text
    assert not re.search(r"(?<!\\)[%_#]", text.split("\n", 1)[1].replace(r"\label{tab:", ""))
    for tabular in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        rows = [line for line in tabular[1].splitlines() if line.endswith(r"\\")]
        assert len(rows) == 6
        assert {line.count("&") + 1 for line in rows} == {len(tabular[0])}
    assert text.isascii()


def test_hostile_names_stay_text(tmp_path):
    name = 'A<script>alert("1")</script>|_&'
    report = report_on([replace(made_up.make("DTM", 25, s), label=name) for s in range(2)], tmp_path)
    files = Pages().render(report, paper=True)
    assert name in "".join(Page(files["report.html"]).words)
    assert files["report.html"].count("<script>") == 1
    assert r'A&lt;script>alert("1")&lt;/script>\|_&' in files["report.md"]
    assert r"|\_\&" in files["table.tex"]


def test_latex_text():
    assert latex(f"{NONE} a---b") == "-- a-{}-{}-b"
    assert latex(f"50 % of a_b ± 1 {MINUS} x") == r"50 \% of a\_b $\pm$ 1 $-$ x"


def test_an_inline_picture_has_ids_of_its_own_and_the_pages_colours():
    text = (
        '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9pt" viewBox="0 0 9 9">'
        '<metadata>http</metadata><g id="axes_1"><path id="m1_a" style="stroke: #000000"/><use xlink:href="#m1_a" '
        'clip-path="url(#p2)"/></g><clipPath id="p2"/></svg>'
    )
    assert inline_svg(text, "z-", 'say "it"') == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="say &#34;it&#34;"><g><path id="z-m1_a" style="stroke: var(--ink)"/>'
        '<use href="#z-m1_a" clip-path="url(#z-p2)"/></g><clipPath id="z-p2"/></svg>'
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": "FixMtach"}, "did you mean 'FixMatch'"),
        ({"metric": "macro-f1"}, "did you mean 'macro_f1'"),
        ({"row": "best_emma"}, "did you mean 'best_ema'"),
    ],
)
def test_an_option_that_names_nothing(grid, tmp_path, options, words):
    with pytest.raises(UserError, match=re.escape(words)):
        write_report([grid[0]], tmp_path / "out", Options(**options))
    assert not (tmp_path / "out").exists()


def test_folders_without_records(tmp_path):
    with pytest.raises(UserError, match="there are no records"):
        write_report([tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="there are no records"):
        write_report([tmp_path / "nowhere"], tmp_path / "out")


def test_a_page_of_damaged_records_only_names_them(tmp_path):
    (tmp_path / records.NAME).write_text("{")
    write_report([tmp_path], tmp_path / "out")
    assert "the record is damaged" in (tmp_path / "out" / "report.html").read_text()


def test_a_report_that_cannot_be_written(grid, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(Pages, "render", lambda self, report, paper: {"report.html": "x"})
    with pytest.raises(UserError, match="the report cannot be written"):
        write_report([grid[0]], tmp_path / "file")


def test_only_runs_that_go_on(tmp_path):
    runs = [made_up.running(made_up.make("DTM", 25, s)) for s in range(2)]
    page = report_on(runs, tmp_path).sections[0]
    assert page.lead.text == "There are no scores to compare yet."
    assert [b.title for b in page.blocks] == ["Progress", "Pseudo-labels"]
    assert "report.html" in Pages().render(report_on(runs[:1], tmp_path / "one"))


class Stop(Exception):
    pass


def test_watching_shows_what_is_new_and_draws_nothing_twice(tmp_path, monkeypatch):
    runs = [made_up.make("FixMatch", b, 0) for b in made_up.BUDGETS]
    for run in runs:
        (tmp_path / "runs" / run.protocol_hash).mkdir(parents=True)
    places = [tmp_path / "runs" / run.protocol_hash / records.NAME for run in runs]
    records.write(made_up.running(runs[0]), places[0])
    records.write(runs[1], places[1])
    drawn, waits = [], []
    monkeypatch.setattr(
        "ferbench.benchmark.report.pages.to_svg", lambda f: drawn.append(f) or '<svg viewBox="0"></svg>'
    )

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:  # nothing has changed before; now a run has finished
            records.write(runs[0], places[0])
        if len(waits) == 3:
            raise Stop

    updates = watch([tmp_path / "runs"], tmp_path / "out", Options(), 5, wait)
    page = tmp_path / "out" / "report.html"
    assert next(updates) == f"{page}: 2 runs of 1 algorithm under 2 protocols: 1 finished, 1 running."
    assert 'data-reload="5"' in page.read_text()
    first = len(drawn)
    assert next(updates).endswith("2 finished.")
    assert waits == [5, 5]
    # A panel each of confusion, threshold, utilization, purity and classes, and two of validation; no confusion matrix yet
    # of the run that went on.
    assert first == 7 + 6
    assert len(drawn) == first + 7
    with pytest.raises(Stop):
        next(updates)


def test_watching_waits_for_records_to_come(tmp_path):
    assert "0 runs" in next(watch([tmp_path], tmp_path / "out", Options(reference="DTM"), 5, lambda s: None))


def test_the_command(grid, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ferbench.benchmark.report.pages.to_svg", lambda figure: '<svg viewBox="0"></svg>')
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(grid[0]), "-o", "out", "--reference", "Supervised"]) == 0
    assert capsys.readouterr().out.split() == ["out/report.md", "out/report.html"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert (
        f"ferbench benchmark made_up.py\nferbench report {grid[0].name} -o out --reference Supervised\n"
        in text
    )
    assert str(grid[0]) not in text
    assert main(["report", str(grid[0]), "--watch", "0"]) == 2
    assert "--watch is 0" in capsys.readouterr().err


def test_the_command_ends_watching_on_an_interrupt(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        yield "one report"
        raise KeyboardInterrupt

    monkeypatch.setattr("ferbench.benchmark.report.watch", interrupted)
    assert main(["report", str(tmp_path), "--watch"]) == 0
    assert capsys.readouterr().out == "one report\n"


def test_a_report_needs_no_torch():
    """It may stay open beside a training, where 600 MB count."""
    code = "import sys, ferbench.benchmark.report; sys.exit(bool({'torch', 'mmengine'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
