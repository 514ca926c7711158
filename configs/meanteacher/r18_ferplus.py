"""Mean Teacher on FER+."""

_base_ = [
    "../_base_/datasets/ferplus.py",
    "../_base_/models/r18_48px.py",
    "../_base_/schedules/short.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="MeanTeacher", lambda_u=1.0, ramp=0.4))
