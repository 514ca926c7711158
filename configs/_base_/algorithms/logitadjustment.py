"""Logit adjustment (Menon et al. 2021, arXiv 2007.07314) over FixMatch."""

model = dict(algorithm=dict(type="LogitAdjustment", base=dict(type="FixMatch", threshold=0.95), tau=1.0))
