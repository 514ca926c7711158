"""Label shift over FixMatch on ABAW5 EXPR."""

_base_ = [
    "../_base_/datasets/abaw5_expr.py",
    "../_base_/models/r50_112px.py",
    "../_base_/schedules/ssl.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="LabelShift", base=dict(type="FixMatch", threshold=0.95)))
