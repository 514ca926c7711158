"""What a report may claim: ties, too few seeds, scores that are no number, other metrics, purity of few, a loaded machine."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import made_up_records as made_up
import numpy as np
import pytest

from ferbench import records
from ferbench.benchmark.report import Options, write_report
from ferbench.benchmark.report.build import build
from ferbench.benchmark.report.gather import gather
from ferbench.benchmark.report.pages import Pages
from ferbench.benchmark.report.pictures import figure_of
from ferbench.benchmark.report.pseudo_labels import purity_counts
from ferbench.benchmark.statistics import compare, highest, rank_summary, summarize
from ferbench.errors import UserError
from ferbench.viz.runlog import FEWEST
from ferbench.viz.style import FAINT


def written(runs, folder):
    for i, run in enumerate(runs):
        place = folder / f"{i:03d}"
        place.mkdir(parents=True)
        records.write(run, place / records.NAME)
    return folder


def report_on(runs, folder, **options):
    return build(gather([written(runs, folder)]), Options(**options))


def table(page, name):
    return next(t for block in page.blocks for t in block.tables if t.name == name)


def bold(found, column):
    """The heads of the rows that are bold in a column."""
    place = [c.title for c in found.columns].index(column)
    return [line[0].text for line in found.rows if line[place].mark == "best"]


def copies(label, run):
    """The same scores under another name: an exact tie."""
    return replace(run, label=label)


class TestTies:
    """Rows with equal values, of any number, on top or not: none of them is bold, in any kind of page."""

    @pytest.fixture
    def report(self, tmp_path):
        runs = [made_up.make("FixMatch", b, s) for b in made_up.BUDGETS for s in range(3)]
        lower = [made_up.lifted(r, -0.1) for r in runs]
        all_runs = [*runs, *(copies("Twin", r) for r in runs), *(copies("Lower", r) for r in lower)]
        return report_on(all_runs, tmp_path)

    def test_none_is_bold_and_the_tie_is_named(self, report):
        page = report.sections[0]
        for name in ("scores", "per_class"):
            found = table(page, name)
            for column in found.columns[1:]:
                assert not {"FixMatch", "Twin"} & set(bold(found, column.title))
        mean = np.mean([r.result().macro_f1 for r in (made_up.make("FixMatch", 25, s) for s in range(3))])
        assert page.lead.text.startswith(
            f"Highest mean macro-F1 (best EMA): a tie of FixMatch and Twin, {100 * mean:.2f} %.".replace(
                " and", ","
            )
        )
        assert "where some tie, none is bold" in table(page, "scores").caption
        summary = next(t for t in report.overview if t.name == "summary")
        assert not any(bold(summary, c.title) for c in summary.columns)
        ranks = {line[0].text: (line[1].small, line[-1].text) for line in summary.rows}
        assert ranks == {
            "FixMatch": ("rank 1, tied", "1.50"),
            "Twin": ("rank 1, tied", "1.50"),
            "Lower": ("rank 3", "3.00"),
        }

    def test_in_every_kind_of_page(self, report):
        files = Pages().render(
            replace(report, sections=[replace(s, blocks=s.blocks[:1]) for s in report.sections]), paper=True
        )
        assert "**" not in "".join(line for line in files["report.md"].splitlines() if line.startswith("| "))
        assert "textbf" not in files["table.tex"]
        assert 'class="number best"' not in files["report.html"]

    def test_rounding_is_no_difference(self):
        scores = {
            "a": dict.fromkeys(range(3), 0.1 + 0.2),
            "b": dict.fromkeys(range(3), 0.3),
            "c": dict.fromkeys(range(3), 0.2),
        }
        assert highest(scores) == ["a", "b"]
        assert rank_summary([[0.1 + 0.2, 0.3, 0.1]] * 2).mean_ranks == (1.5, 1.5, 3.0)


class TestTooFewSeeds:
    def test_no_headline_and_no_bold_where_none_has_enough(self, tmp_path):
        runs = [made_up.make(a, 25, s) for a in ("FixMatch", "DTM") for s in range(2)]
        page = report_on(runs, tmp_path).sections[0]
        assert page.lead.text == (
            "No algorithm has the 3 seeds that a claim takes (the most is 2): which mean macro-F1 (best EMA) is the "
            "highest cannot be told. Against FixMatch: too few seeds: DTM."
        )
        assert not any(
            bold(table(page, n), c.title) for n in ("scores", "per_class") for c in table(page, n).columns
        )

    def test_one_seed_of_luck_does_not_lead(self, tmp_path):
        runs = [made_up.make(a, 25, s) for a in ("FixMatch", "UDA") for s in range(3)]
        runs.append(made_up.lifted(made_up.make("DTM", 25, 0), 0.2))
        page = report_on(runs, tmp_path).sections[0]
        found = table(page, "scores")
        assert found.rows[0][0].text == "DTM"
        assert bold(found, "best EMA ★") == ["FixMatch"]
        assert page.lead.text.startswith(
            "Highest mean macro-F1 (best EMA) of the algorithms with 3 seeds or more: FixMatch, "
        )


class TestNoNumber:
    """NaN is not worse, lowest, or left out, wherever it stands."""

    @pytest.mark.parametrize("place", [0, 1, 2])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_of_a_comparison(self, place, value):
        scores = {"a": {0: 0.5, 1: 0.6, 2: 0.7}, "b": {0: 0.4, 1: 0.5, 2: 0.6}, "c": {0: 0.5, 1: 0.7, 2: 0.8}}
        without = compare({k: scores[k] for k in ("a", "c")}, "a")
        scores["b"][place] = value
        found = compare(scores, "a")
        assert (found["b"].verdict, found["b"].n, found["b"].p) == ("no number", 3, None)
        assert math.isnan(found["b"].difference)
        assert found["c"] == without["c"]  # and Holm's correction does not count it
        assert math.isnan(summarize(list(scores["b"].values())).mean)
        assert highest(scores) == ["c"]
        with pytest.raises(ValueError, match="not finite"):
            rank_summary([[0.5, value, 0.1]])

    def test_of_a_metric_in_a_report(self, tmp_path):
        runs = [with_metrics(made_up.make(a, 25, s), kappa=0.1 * s + 0.01 * i)
                for i, a in enumerate(("FixMatch", "DTM", "UDA")) for s in range(3)]  # fmt: skip
        runs[4] = with_metrics(runs[4], kappa=None)
        page = report_on(runs, tmp_path, metric="kappa").sections[0]
        found = table(page, "scores")
        [line] = [line for line in found.rows if line[0].text == "DTM"]
        assert found.rows[-1] is line
        assert (line[2].text, line[2].small, line[2].sort) == ("NaN", "no number: seed 1", None)
        assert "no number" in [cell.text for cell in line]
        assert "worse" not in [cell.mark for cell in line]
        assert "No number: DTM." in page.lead.text
        assert "no number: DTM" in page.lead.text
        assert "nan" not in Pages().render(report_on(runs[:5], tmp_path / "b", metric="kappa"))[
            "report.html"
        ].replace("NaN", "")


def with_metrics(run, **metrics):
    return replace(run, results=[replace(r, metrics={**r.metrics, **metrics}) for r in run.results])


class TestOtherMetrics:
    """Metrics that the runs' evaluators add, under any name."""

    def runs(self):
        names = {"a|b <i>": 2.0, "kappa": 0.25}
        return [with_metrics(made_up.make(a, 25, s), **{k: v + 0.5 * s + (a == "DTM") for k, v in names.items()})
                for a in ("FixMatch", "DTM") for s in range(3)]  # fmt: skip

    def test_have_a_table(self, tmp_path):
        found = table(report_on([*self.runs(), made_up.make("UDA", 25, 0)], tmp_path).sections[0], "metrics")
        assert [c.title for c in found.columns] == ["algorithm", "a|b <i>", "kappa"]
        cells = {line[0].text: [cell.text for cell in line[1:]] for line in found.rows}
        assert cells == {
            "DTM": ["3.5000 ± 0.5000", "1.7500 ± 0.5000"],
            "FixMatch": ["2.5000 ± 0.5000", "0.7500 ± 0.5000"],
        }

    def test_may_be_what_is_compared(self, tmp_path):
        write_report(
            [written(self.runs(), tmp_path / "runs")], tmp_path / "out", Options(metric="kappa", latex=True)
        )
        text = (tmp_path / "out" / "report.md").read_text()
        assert "Highest mean kappa (best EMA): DTM, 1.7500 ± 0.5000. Against FixMatch: higher: DTM." in text
        assert "| DTM | 3 | **1.7500 ± 0.5000** [" in text
        assert "▲ higher" in text
        assert "Whether more kappa is better, its evaluator does not say" in text
        assert "percent" not in next(line for line in text.splitlines() if line.startswith("Test kappa"))

    def test_one_that_no_record_has(self, tmp_path):
        with pytest.raises(UserError, match=re.escape("there is no metric 'kapa'")) as caught:
            write_report([written(self.runs(), tmp_path / "runs")], tmp_path / "out", Options(metric="kapa"))
        assert "did you mean 'kappa'" in str(caught.value)


class TestPurity:
    def counted(self, count):
        run = made_up.make("DTM", 25, 0)
        curves = run.curves.classes
        counts = [[count] * 7 if i < 30 else [1000.0] * 7 for i in range(len(curves.iter))]
        return replace(run, curves=replace(run.curves, classes=replace(curves, purity_count=counts)))

    @pytest.mark.parametrize("few", [True, False])
    def test_is_faint_where_few_pseudo_labels_are_behind_it(self, few, tmp_path):
        """60 points, of one entry of the log each; half of them of too few."""
        page = report_on([self.counted(FEWEST - 1.0 if few else float(FEWEST))], tmp_path).sections[0]
        [picture] = [p for block in page.blocks for p in block.pictures if p.name == "purity"]
        assert f"Faint: fewer than {FEWEST} selected pseudo-labels" in picture.note
        lines = figure_of(picture, picture.panels[0]).axes[0].lines
        full = [
            line for line in lines if line.get_alpha() is None and np.isfinite(line.get_ydata()).sum() > 2
        ]
        faint = [line for line in lines if line.get_alpha() == FAINT and line.get_linewidth() < 1]
        assert len(full) == 7
        assert len(faint) == (7 if few else 0)
        assert {int(np.isfinite(line.get_ydata()).sum()) for line in full} == ({30} if few else {60})

    def test_of_older_records_is_counted_by_what_they_know(self):
        run = made_up.make("DTM", 25, 0)
        assert purity_counts(run) is None
        config = {"train_dataloader": {"batch_size": 16}, "unlabeled_dataloader": {"mu": 2},
                  "default_hooks": {"monitor": {"interval": 100}}}  # fmt: skip
        found = purity_counts(replace(run, config=config))
        curves = run.curves.classes
        right = 3200 * np.array(curves.utilization) * np.array(curves.pseudo_label_share)
        np.testing.assert_allclose(found, right)

    def test_stands_with_its_count_in_the_table(self, tmp_path):
        found = table(report_on([self.counted(5.0)], tmp_path).sections[0], "pseudo_labels")
        assert found.rows[0][2].small == "of 42,000"  # 6 entries, 7 classes, 1,000 each


def test_small_utilization_can_be_read(tmp_path):
    """2 % stands at a seventh of the height of 100 %."""
    page = report_on([made_up.make("DTM", 25, 0)], tmp_path).sections[0]
    [picture] = [p for block in page.blocks for p in block.pictures if p.name == "utilization"]
    axes = figure_of(picture, picture.panels[0]).axes[0]
    heights = axes.transAxes.inverted().transform(
        axes.transData.transform([(0, 0.0), (0, 0.02), (0, 0.5), (0, 1.0)])
    )[:, 1]
    np.testing.assert_allclose(heights, [0, np.sqrt(0.02), np.sqrt(0.5), 1], atol=1e-6)
    assert "square-root axis" in picture.note


def test_runs_on_a_loaded_machine_are_named(tmp_path):
    runs = [made_up.make(a, 25, s) for a in ("FixMatch", "DTM") for s in range(3)]
    assert (
        "How busy the machine was besides is not known"
        in table(report_on(runs, tmp_path / "old").sections[0], "cost").caption
    )
    loads = [0.4, 0.5, 0.6, 0.9, 1.5, 3.0]
    runs = [replace(r, cost=replace(r.cost, load=load)) for r, load in zip(runs, loads, strict=True)]
    page = report_on(runs, tmp_path / "new").sections[0]
    found = table(page, "cost")
    assert {line[0].text: line[-1].text for line in found.rows} == {"FixMatch": "0.50", "DTM": "1.80"}
    assert any(
        n.warning and "more to do than cores" in n.text and "DTM 3.0 (2 runs)" in n.text for n in page.notes
    )
    assert not any("FixMatch" in n.text and "cores" in n.text for n in page.notes)


def test_a_record_that_contradicts_itself_is_named_and_the_others_are_reported(tmp_path):
    runs = [made_up.make("DTM", 25, s) for s in range(4)]
    broken = [replace(r, macro_f1=7.5) for r in runs[0].results]
    found = report_on([replace(runs[0], results=broken), *runs[1:]], tmp_path)
    [line] = next(t for t in found.overview if t.name == "unfinished").rows
    assert [cell.text for cell in line[:3]] == [
        "record.json",
        "skipped",
        "/".join((*tmp_path.parts[-3:], "000")),
    ]
    assert "results[0].macro_f1 is 7.5, but the confusion matrix beside it gives" in line[3].text
    assert table(found.sections[0], "scores").rows[0][1].text == "3"
