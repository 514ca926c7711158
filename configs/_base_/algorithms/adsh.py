"""Adsh (Guo & Li 2022, ICML) over FixMatch."""

model = dict(algorithm=dict(type="Adsh", base=dict(type="FixMatch", threshold=0.95), threshold=0.95))
# Classes are counted on 100,000 of the unlabeled images, evenly spread.
overrides = dict(large_data=dict(rule=dict(max_items=100_000)))
