"""Two more draws of the labels with FER2013's own: do FixMatch, DTM and FreeMatch help there?

The protocol is that of `fer2013_small.py`, which has draws 0 to 2, so the runs of both may be reported together.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/grids/fer2013_small.py"
seeds = [3, 4]
algorithms = {
    "_delete_": True,
    "Supervised": "supervised",
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "DTM threshold only": "dtm",
    "FreeMatch": "freematch",
}
