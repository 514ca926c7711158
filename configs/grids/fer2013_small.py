"""Threshold rules and label shift with FER2013's own labels: seven classes, one label per image in place of ten votes.

15 runs of about five minutes on one CPU core. Network, data streams and schedule are those of `ferplus_small.py`.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/_base_/grids/ferplus_cpu.py"
base = "r18_fer2013"
_fixmatch = dict(type="FixMatch", threshold=0.8)
algorithms = {
    "Supervised": "supervised",
    "FixMatch 0.8": _fixmatch,
    "DTM threshold only": "dtm",
    "FreeMatch": "freematch",
    "FixMatch 0.8, label shift": dict(type="LabelShift", base=_fixmatch),
}
budgets = [100]
options = {"unlabeled_dataloader.dataset": None}
