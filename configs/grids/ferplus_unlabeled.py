"""Which unlabeled images help: the rest of FER2013, face-recognition images (LFW), or both; and labels as they come.

The last budget has as many labels as 100 per class, but in the natural proportions of FER+.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/grids/ferplus_small.py"
algorithms = {
    "_delete_": True,
    "Supervised": "supervised/r18_ferplus.py",
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "DTM threshold only": "dtm/r18_ferplus.py",
}
budgets = [
    {"split.per_class": 100, "unlabeled_dataloader.dataset": None},
    {"split.per_class": 100, "unlabeled_dataloader.rest": False},
    {"split.per_class": None, "split.total": 800},
]
