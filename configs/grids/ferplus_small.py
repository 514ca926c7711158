"""Which pseudo-labels help a small network on real faces? FER+ at 100 and 25 labels per class, and 800 as they come.

117 runs of about five minutes on one CPU core (bfloat16). Most of `docs/results/fer2013.md` is from it. Unlabeled are the
rest of FER2013's images, without LFW: `ferplus_unlabeled.py` compares the sources. The last budget has as many labels as
the first, in the natural proportions of FER+.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/_base_/grids/ferplus_cpu.py"
algorithms = {
    "Supervised": "supervised",
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "DTM threshold only": "dtm",
    "FixMatch 0.95": dict(type="FixMatch", threshold=0.95),
    "PseudoLabel": "pseudolabel",
    "FlexMatch": "flexmatch",
    "FreeMatch": "freematch",
    "SoftMatch": "softmatch",
    "AdaMatch": "adamatch",
    "UDA": "uda",
    "DebiasedPL": "debiasedpl",
    "AdaCM": "adacm",
    "DTM full": "dtm_full",
}
budgets = [100, 25, {"split.per_class": None, "split.total": 800}]
options = {"unlabeled_dataloader.dataset": None}
