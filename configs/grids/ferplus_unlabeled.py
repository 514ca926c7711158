"""Which unlabeled images help: the rest of FER2013 and face-recognition images (LFW), or these alone?

The rest alone is in `ferplus_small.py`.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/_base_/grids/ferplus_cpu.py"
algorithms = {
    "Supervised": "supervised",
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "DTM threshold only": "dtm",
    "FixMatch 0.8, label shift": dict(type="LabelShift", base=dict(type="FixMatch", threshold=0.8)),
}
budgets = [
    {"split.per_class": 100, "unlabeled_dataloader.rest": True},
    {"split.per_class": 100, "unlabeled_dataloader.rest": False},
]
