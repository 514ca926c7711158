"""AdaMatch (Berthelot et al. 2022, arXiv 2106.04732)."""

model = dict(algorithm=dict(type="AdaMatch", threshold=0.95, momentum=0.999))
# The papers train for up to a million iterations.
overrides = dict(short_run=dict(momentum=0.99))
