"""DTA + SNL on ABAW5 EXPR."""

_base_ = [
    "../_base_/datasets/abaw5_expr.py",
    "../_base_/models/r50_112px.py",
    "../_base_/schedules/ssl.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="DTASNL", level=0.05, negative_weight=1.0))
