"""SimMatch (Zheng et al. 2022, arXiv 2203.06915)."""

model = dict(algorithm=dict(type="SimMatch", threshold=0.95, alpha=0.9, bank=dict(temperature=0.1)))
overrides = dict(large_data=dict(bank=dict(size=16_384)))  # a part of the labeled images
