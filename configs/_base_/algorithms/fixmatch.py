"""FixMatch (Sohn et al. 2020, arXiv 2001.07685)."""

model = dict(algorithm=dict(type="FixMatch", threshold=0.95))
