"""One whole training whose classes, label and data set have names that are markup somewhere: every output has them as text."""

from __future__ import annotations

import csv
import json
import warnings

import cv2
from markdown_it import MarkdownIt

from ferbench import records
from ferbench.benchmark.report import Options, write_report
from ferbench.config import load_config
from ferbench.core.text import printable, tags
from ferbench.engine import api
from ferbench.viz.plots import plot_run

CLASSES = ("$x^{$ [/red]", "[fear] a|b\n\"'\\", "<b>" + "x" * 117 + "100 %</b>", "恐怖 الخوف 😀 &_")
LABEL = "[/red] <i>$\\frac$ a|b</i>"


def changed(config_file, folder):
    """The very small experiment with other names."""
    text = config_file.read_text()
    renamed = dict(zip(("blank", "cross", "disc", "stripes"), CLASSES, strict=True))
    text = text.replace("labeled=True,", f"labeled=True, rename={renamed!r},")
    file = folder / "names.py"
    file.write_text(
        f"{text}\nclasses = {CLASSES!r}\n"
        f"default_hooks['report'] = dict(pictures=True)\ndefault_hooks['record'] = dict(label={LABEL!r})\n"
        "visualizer = dict(vis_backends=[dict(type='TensorboardVisBackend')])\nlog_level = 'INFO'\n",
        encoding="utf-8",
    )
    return file


def test_every_output_of_a_run_has_its_names_as_text(config_file, images, tmp_path, capsys):
    cfg = load_config(changed(config_file, tmp_path), {}, (), images)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph|.*math")
        runner = api.train(cfg, tmp_path / "run")
    folder = tmp_path / "run"
    shown = [printable(name) for name in CLASSES]

    own = records.read(folder / records.NAME)
    assert (own.status, own.label, own.classes) == ("finished", LABEL, list(CLASSES))
    assert set(own.data["labeled"].class_counts) == set(CLASSES)

    # `plain` text of rich: what does not fit into a column goes on in the next line.
    printed = capsys.readouterr().out
    assert "[/red]" in printed
    assert "[fear]" in printed
    html = (
        MarkdownIt("commonmark").enable("table").render((folder / "results.md").read_text(encoding="utf-8"))
    )
    for name, f1 in zip(shown, own.result().f1, strict=True):
        escaped = (
            f"F1 {name}".replace("&", "&amp;")
            .replace("<", "&lt;")
            .replace(">", "&gt;")
            .replace('"', "&quot;")
        )
        [line] = [line for line in html.split("<tr>") if f"<td>{escaped}</td>" in line]
        assert f"{100 * f1:.2f}" in line

    pictures = {p.name for p in (folder / "plots").iterdir()}
    assert {"confusion.png", "purity.png", "thresholds.png", "utilization.png", "validation.png"} <= pictures
    assert all(cv2.imread(str(p)) is not None for p in (folder / "plots").iterdir())
    assert plot_run(folder, CLASSES)

    log = next(folder.glob("*/*.log")).read_text(encoding="utf-8")
    assert f"{shown[1]} " in log
    assert shown[0] in log
    assert "\n\"'" not in log

    events = list(folder.rglob("events.out.tfevents*"))
    content = b"".join(e.read_bytes() for e in events)
    assert all(f"utilization/{tag}".encode() in content for tag in tags(CLASSES))

    api.test(cfg, folder / "last.pth", tmp_path / "tested")
    with open(tmp_path / "tested" / "predictions_ema.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head[3:] == [f"p({name})" for name in CLASSES]
    assert {row[1] for row in rows} == set(CLASSES)
    json.loads((tmp_path / "tested" / "scores.json").read_text())
    assert runner.data.classes == CLASSES

    write_report([folder / records.NAME], tmp_path / "report", Options(latex=True))
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;$\\frac$ a|b&lt;/i&gt;" in page
    assert "<b>x" not in page
