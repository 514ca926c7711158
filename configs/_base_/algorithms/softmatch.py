"""SoftMatch (Chen et al. 2023, arXiv 2301.10921)."""

model = dict(algorithm=dict(type="SoftMatch", n_sigma=2, momentum=0.999, align_to="uniform"))
# The papers train for up to a million iterations.
overrides = dict(short_run=dict(momentum=0.99))
