"""DTA + SNL (Cai et al. 2026, arXiv 2601.05556): our reading."""

model = dict(algorithm=dict(type="DTASNL", level=0.05, negative_weight=1.0))
