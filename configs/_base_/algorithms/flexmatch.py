"""FlexMatch (Zhang et al. 2021, arXiv 2110.08263)."""

model = dict(algorithm=dict(type="FlexMatch", threshold=0.95))
