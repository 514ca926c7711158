"""Is it the threshold, or the class shares? FixMatch and DTM's threshold with the unlabeled images' shares estimated.

The protocol is that of `ferplus_small.py`, so the runs of both may be reported together.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/grids/ferplus_small.py"
_shift = dict(type="LabelShift", momentum=0.99)
algorithms = {
    "_delete_": True,
    "FixMatch 0.8, LabelShift": dict(type="FixMatch", threshold=0.8, alignment=_shift),
    "DTM threshold only, LabelShift": dict(type="DTM", threshold_only=True, alignment=_shift),
}
