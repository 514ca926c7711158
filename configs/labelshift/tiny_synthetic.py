"""Label shift over FixMatch on synthetic faces."""

_base_ = [
    "../_base_/datasets/synthetic.py",
    "../_base_/models/tiny_48px.py",
    "../_base_/schedules/tiny.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="LabelShift", base=dict(type="FixMatch", threshold=0.95)))
