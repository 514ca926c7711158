"""DTM's threshold, measured on held-out labeled images: ABAW5 EXPR."""

_base_ = [
    "../_base_/datasets/abaw5_expr.py",
    "../_base_/models/r50_112px.py",
    "../_base_/schedules/ssl.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="HeldOutDTM", threshold_only=True, beta=0.97, floor=0.8))
