"""UDA (Xie et al. 2020, arXiv 1904.12848)."""

model = dict(algorithm=dict(type="UDA", threshold=0.8, temperature=0.4, schedule="none"))
