"""Is it the threshold, or the class shares? FixMatch and DTM's threshold with the unlabeled images' shares estimated.

The protocol is that of `ferplus_small.py`, so the runs of both may be reported together.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/grids/ferplus_small.py"
_fixmatch = dict(type="FixMatch", threshold=0.8)
_dtm = dict(type="DTM", threshold_only=True)
algorithms = {
    "_delete_": True,
    "FixMatch 0.8, label shift": dict(type="LabelShift", base=_fixmatch),
    "DTM threshold only, label shift": dict(type="LabelShift", base=_dtm),
    "FixMatch 0.8, label shift in training only": dict(type="LabelShift", base=_fixmatch, prediction=False),
    "FixMatch 0.8, label shift in prediction only": dict(type="LabelShift", base=_fixmatch, learning=False),
    "label shift without pseudo-labels": dict(type="LabelShift", base=dict(**_fixmatch, lambda_u=0.0)),
}
