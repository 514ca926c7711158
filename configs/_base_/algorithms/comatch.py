"""CoMatch (Li et al. 2021, arXiv 2011.11183)."""

model = dict(algorithm=dict(type="CoMatch", threshold=0.95, temperature=0.2, alpha=0.9))
