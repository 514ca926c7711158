"""CCSSL (Yang et al. 2022, arXiv 2203.02261)."""

model = dict(algorithm=dict(type="CCSSL", threshold=0.95, contrast_threshold=0.9, contrast_weight=1.0))
