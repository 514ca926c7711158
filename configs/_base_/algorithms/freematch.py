"""FreeMatch (Wang et al. 2023, arXiv 2205.07246)."""

model = dict(algorithm=dict(type="FreeMatch", momentum=0.999, fairness=0.01))
# The papers train for up to a million iterations.
overrides = dict(short_run=dict(momentum=0.99))
