"""What each choice of DTM is worth: one thing changed at a time, FER+ at 100 labels per class.

The protocol is that of `ferplus_small.py`, so the runs of both may be reported together.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/grids/ferplus_small.py"
_one = dict(type="DTM", threshold_only=True)
_two = dict(weak_views=("weak", "weak2"))
_low = dict(type="LowConfidenceContrast", weight=0.1, temperature=0.07)
algorithms = {
    "_delete_": True,
    "DTM threshold only": "dtm",
    "statistic of all of the true class": dict(**_one, rule=dict(source="all_of_true_class")),
    "statistic of all of the predicted class": dict(**_one, rule=dict(source="all_of_predicted_class")),
    "statistic of the student": dict(**_one, rule=dict(weights="student")),
    "statistic on clean images": dict(**_one, rule=dict(view="eval")),
    "running statistic": dict(**_one, rule=dict(scope="iteration")),
    "floor 0.6": dict(**_one, floor=0.6),
    "floor 0.9": dict(**_one, floor=0.9),
    "no ramp": dict(**_one, gamma=1e9),
    "one threshold for all classes": dict(**_one, rule=dict(per_class=False)),
    "statistic of held-out images": dict(type="HeldOutDTM", threshold_only=True),
    "two views": dict(**_one, **_two),
    "two views, low-confidence term": dict(**_one, **_two, terms=[_low]),
}
budgets = [100]
