"""Ada-CM (Li et al. 2022, arXiv 2203.12341)."""

model = dict(algorithm=dict(type="AdaCM", beta=0.97, floor=0.8))
# The statistic is measured on 50,000 of the labeled images, evenly spread.
overrides = dict(large_data=dict(rule=dict(max_items=50_000)))
