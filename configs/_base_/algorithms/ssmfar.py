"""SS-MFAR (Gera et al. 2022, arXiv 2207.09012)."""

model = dict(algorithm=dict(type="SSMFAR", class_weight=None))
# The statistic is measured on 50,000 of the labeled images, evenly spread.
overrides = dict(large_data=dict(rule=dict(max_items=50_000)))
