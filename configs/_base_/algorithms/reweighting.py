"""Re-weighting by effective number (Cui et al. 2019, arXiv 1901.05555) over FixMatch."""

model = dict(algorithm=dict(type="Reweighting", base=dict(type="FixMatch", threshold=0.95), beta=0.999))
