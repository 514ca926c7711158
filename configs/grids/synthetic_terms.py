"""Why the recipes with a low-confidence term learn synthetic faces worse than labeled-only: the same recipes without it.

The protocol is that of `synthetic.py`, so the runs of both may be reported together.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/grids/synthetic.py"
_low = dict(type="LowConfidenceContrast", weight=0.01, temperature=0.07)
algorithms = {
    "_delete_": True,
    "supervised": "supervised",
    "dtm, full recipe": "dtm_full",
    "dtm, full recipe, lambda_x 1": dict(type="DTM", lambda_x=1.0),
    "dtm, full recipe, term 0.01": dict(type="DTM", terms=[_low]),
    "dtm, full recipe, no term": dict(type="DTM", terms=[]),
    "ssmfar": "ssmfar",
    "ssmfar, no term": dict(type="SSMFAR", class_weight=None, terms=[]),
    "eacm": "eacm",
    "eacm, no term": dict(type="EACM", terms=[]),
}
seeds = [0, 1]
