"""DTM's threshold, measured on held-out labeled images: synthetic faces."""

_base_ = [
    "../_base_/datasets/synthetic.py",
    "../_base_/models/tiny_48px.py",
    "../_base_/schedules/tiny.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="HeldOutDTM", threshold_only=True, beta=0.97, floor=0.8))
