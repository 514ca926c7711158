"""Threshold rules on FER2013 at 25 and 100 labels per class: ResNet-18 at 48 px, 3,000 steps, three draws of labels.

78 runs, about an hour each on one CPU core and minutes on a GPU. Each algorithm as its own config has it.
"""

base = "supervised/r18_fer2013.py"
algorithms = {
    "Supervised": "supervised/r18_fer2013.py",
    "PseudoLabel": "pseudolabel/r18_fer2013.py",
    "FixMatch 0.95": dict(type="FixMatch", threshold=0.95),
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "FlexMatch": "flexmatch/r18_fer2013.py",
    "FreeMatch": "freematch/r18_fer2013.py",
    "SoftMatch": "softmatch/r18_fer2013.py",
    "AdaMatch": "adamatch/r18_fer2013.py",
    "UDA": "uda/r18_fer2013.py",
    "DebiasedPL": "debiasedpl/r18_fer2013.py",
    "AdaCM": "adacm/r18_fer2013.py",
    "DTM threshold only": "dtm/r18_fer2013.py",
    "DTM full": "dtm/r18_fer2013_full.py",
}
budgets = [25, 100]
seeds = [0, 1, 2]
