"""DTM's threshold, measured on held-out labeled images (ours)."""

model = dict(algorithm=dict(type="HeldOutDTM", threshold_only=True, beta=0.97, floor=0.8))
