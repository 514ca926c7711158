"""Which pseudo-labels help a network that knows faces? FER+ at 100 labels per class, and the rest of FER2013 unlabeled.

21 runs of about fifteen minutes on one CPU core. `pip install 'ferbench[faces]'` brings the network.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/_base_/grids/faces_cpu.py"
algorithms = {
    "Supervised": "supervised",
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "FixMatch 0.95": dict(type="FixMatch", threshold=0.95),
    "DTM threshold only": "dtm",
    "FlexMatch": "flexmatch",
    "FreeMatch": "freematch",
    "SoftMatch": "softmatch",
}
budgets = [100]
