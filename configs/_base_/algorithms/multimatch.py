"""MultiMatch (Sirbu et al. 2025, arXiv 2506.07801)."""

model = dict(algorithm=dict(type="MultiMatch", disagreement=3.0))
