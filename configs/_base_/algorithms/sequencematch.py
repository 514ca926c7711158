"""SequenceMatch (Nguyen 2023, arXiv 2310.15787)."""

model = dict(algorithm=dict(type="SequenceMatch", threshold=0.95, temperature=0.5))
