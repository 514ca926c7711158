"""Debiased pseudo-labels (Wang et al. 2022, arXiv 2201.01490)."""

model = dict(algorithm=dict(type="DebiasedPL", threshold=0.8, tau=0.4, momentum=0.999))
# The papers train for up to a million iterations.
overrides = dict(short_run=dict(momentum=0.99))
