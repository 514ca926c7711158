"""DTM's threshold, measured on held-out labeled images: FER+."""

_base_ = [
    "../_base_/datasets/ferplus.py",
    "../_base_/models/r18_48px.py",
    "../_base_/schedules/short.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="HeldOutDTM", threshold_only=True, beta=0.97, floor=0.8))
