"""CCSSL on synthetic faces."""

_base_ = [
    "../_base_/datasets/synthetic.py",
    "../_base_/models/tiny_48px.py",
    "../_base_/schedules/tiny.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="CCSSL", threshold=0.95, contrast_threshold=0.9, contrast_weight=1.0))
