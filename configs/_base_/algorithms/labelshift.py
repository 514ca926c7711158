"""Label shift (ours) over FixMatch."""

model = dict(algorithm=dict(type="LabelShift", base=dict(type="FixMatch", threshold=0.95)))
