"""The layout for TensorBoard: its charts take exactly the scalars that the monitor writes."""

from __future__ import annotations

import re

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch.utils.tensorboard import SummaryWriter

from ferbench.engine.hooks.monitor import _flat
from ferbench.viz.tensorboard import add_layout, layout

CLASSES = ("Neutral", "Anger", "Other (unsure)")
RECORD = {
    "losses": {"loss": 1.0, "supervised": 0.5}, "lr": 0.1, "images_per_s": 9.0, "data_wait": 0.1,
    "utilization_mean": 0.5, "purity_mean": 0.5, "confidence_quantiles": {"0.05": 0.3, "0.5": 0.6},
    **{k: [0.1, 0.2, 0.3] for k in ("threshold", "utilization", "purity", "pseudo_label_share")},
}  # fmt: skip


def test_each_chart_has_its_scalars_and_no_others():
    tags = [*_flat(RECORD, CLASSES), "val/raw/macro_f1", "val/ema/macro_f1", "val/raw/accuracy"]
    shown = {
        title: [tag for tag in tags if any(re.match(pattern, tag) for pattern in chart[1])]
        for charts in layout(CLASSES).values()
        for title, chart in charts.items()
    }
    per_class = {key: [f"{key}/{name}" for name in CLASSES] for key in ("threshold", "utilization", "purity")}
    assert shown == {
        "threshold": per_class["threshold"],
        "utilization": [*per_class["utilization"], "utilization_mean"],
        "purity": [*per_class["purity"], "purity_mean"],
        "share of each class": [f"pseudo_label_share/{name}" for name in CLASSES],
        "confidence": ["confidence/0.05", "confidence/0.5"],
        "validation macro-F1": ["val/raw/macro_f1", "val/ema/macro_f1"],
    }


class Visualizer:
    def __init__(self, **backends):
        self.backends = backends

    def get_backend(self, name):
        return self.backends.get(name)


class Backend:
    def __init__(self, experiment):
        self.experiment = experiment


def test_the_layout_is_written_as_tensorboard_reads_it(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        add_layout(Visualizer(TensorboardVisBackend=Backend(writer)), CLASSES)
    events = EventAccumulator(str(tmp_path)).Reload()
    [event] = events.Tensors("custom_scalars__config__")
    found = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [c.title for c in found.category] == ["Pseudo-labels", "Scores"]
    assert list(found.category[0].chart[0].multiline.tag)[2] == r"^threshold/Other\ \(unsure\)$"


def test_a_run_without_tensorboard_has_no_layout():
    add_layout(Visualizer(), CLASSES)
