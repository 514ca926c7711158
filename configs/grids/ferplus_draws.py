"""Two more draws of the labels for the question that needs them: is FixMatch above labeled-only? FER+ at 100 per class.

The protocol is that of `ferplus_small.py`, which has draws 0 to 2, so the runs of both may be reported together.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/grids/ferplus_small.py"
seeds = [3, 4]
algorithms = {
    "_delete_": True,
    "Supervised": "supervised",
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "DTM threshold only": "dtm",
    "FixMatch 0.8, label shift": dict(type="LabelShift", base=dict(type="FixMatch", threshold=0.8)),
}
budgets = [100]
