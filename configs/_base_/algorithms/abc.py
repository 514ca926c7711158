"""ABC (Lee et al. 2021, arXiv 2110.10368) over FixMatch."""

model = dict(algorithm=dict(type="ABC", base=dict(type="FixMatch", threshold=0.95), threshold=0.95))
