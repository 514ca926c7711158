"""CRMatch (Fan et al. 2021, arXiv 2112.05825)."""

model = dict(algorithm=dict(type="CRMatch", threshold=0.95, distance=1.0, rotation=1.0))
