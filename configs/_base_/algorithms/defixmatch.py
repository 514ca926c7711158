"""DeFixMatch (Schmutz et al. 2023, arXiv 2203.07512)."""

model = dict(algorithm=dict(type="DeFixMatch", threshold=0.95, lambda_u=0.5))
