"""Mean Teacher on synthetic faces."""

_base_ = [
    "../_base_/datasets/synthetic.py",
    "../_base_/models/tiny_48px.py",
    "../_base_/schedules/tiny.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="MeanTeacher", lambda_u=1.0, ramp=0.4))
