"""Threshold rules on FER2013 at 25 and 100 labels per class: ResNet-18 at 48 px, 3,000 steps, three draws of labels.

78 runs, about an hour each on one CPU core and minutes on a GPU. Each algorithm as its own config has it.
"""

base = "r18_fer2013"
algorithms = {
    "Supervised": "supervised",
    "PseudoLabel": "pseudolabel",
    "FixMatch 0.95": dict(type="FixMatch", threshold=0.95),
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "FlexMatch": "flexmatch",
    "FreeMatch": "freematch",
    "SoftMatch": "softmatch",
    "AdaMatch": "adamatch",
    "UDA": "uda",
    "DebiasedPL": "debiasedpl",
    "AdaCM": "adacm",
    "DTM threshold only": "dtm",
    "DTM full": "dtm_full",
}
budgets = [25, 100]
seeds = [0, 1, 2]
