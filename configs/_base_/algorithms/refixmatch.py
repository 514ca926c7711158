"""ReFixMatch (Nguyen & Yang 2023, arXiv 2308.07509)."""

model = dict(algorithm=dict(type="ReFixMatch", threshold=0.95, temperature=0.5))
