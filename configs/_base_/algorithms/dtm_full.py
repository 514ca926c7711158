"""DTM (Yu et al. 2023, arXiv 2303.08617), full recipe: two weak views averaged, low-confidence term. See docs/dtm.md."""

model = dict(algorithm=dict(type="DTM", beta=0.97, floor=0.8))
# The statistic is measured on 50,000 of the labeled images, evenly spread.
overrides = dict(large_data=dict(rule=dict(max_items=50_000)))
